import type { Cursors, Handlers } from "waybill";
import type { AccessTokens, Assertions, RevocationFeed, TokenAuthentication } from "waybill/auth";
import type { ServiceClient } from "waybill/client";
import type { Pool } from "waybill/postgres";
import type { IdentityServiceService } from "#proto/waybill/identity/v1/identity.ts";
import type { TokenServiceService } from "#proto/waybill/token/v1/token.ts";
import type { AuditLog } from "../auditLog/auditLog.ts";
import { listAuditEvents } from "../auditLog/listAuditEvents.ts";
import type { Clients } from "./clients/clients.ts";
import type { ExternalIssuers } from "./clients/externalIssuers.ts";
import { exchange } from "./grants/exchange.ts";
import { grantClientCredentials } from "./grants/grantClientCredentials.ts";
import { grantJwtBearer } from "./grants/grantJwtBearer.ts";
import type { GrantLimit } from "./grants/grantLimit.ts";
import { endOtherSignIns } from "./signIns/endOtherSignIns.ts";
import { endSignIn } from "./signIns/endSignIn.ts";
import { endSubject } from "./signIns/endSubject.ts";
import type { Families } from "./signIns/families.ts";
import { listSignIns } from "./signIns/listSignIns.ts";
import { refresh } from "./signIns/refresh.ts";
import { signIn } from "./signIns/signIn.ts";
import { getJwks } from "./signingKeys/getJwks.ts";
import { getServerMetadata } from "./signingKeys/getServerMetadata.ts";
import { listSigningKeys } from "./signingKeys/listSigningKeys.ts";
import { rotateSigningKey } from "./signingKeys/rotateSigningKey.ts";
import type { SigningKeys } from "./signingKeys/signingKeys.ts";
import { batchIntrospect } from "./tokens/batchIntrospect.ts";
import type { Binding } from "./tokens/binding.ts";
import { introspect } from "./tokens/introspect.ts";
import type { Issuing } from "./tokens/issuing.ts";
import { revoke } from "./tokens/revoke.ts";
import { streamIntrospect } from "./tokens/streamIntrospect.ts";

export interface TokenDependencies {
  db: Pool;
  /** This system's issuer URL. */
  issuer: string;
  cursors: Cursors;
  audit: AuditLog;
  keys: SigningKeys;
  tokens: AccessTokens;
  feed: Pick<RevocationFeed, "revoke" | "revocations">;
  authentication: TokenAuthentication;
  identity: Pick<ServiceClient<typeof IdentityServiceService>, "verifyUser">;
  assertions: Assertions;
  clients: Clients;
  issuers: ExternalIssuers;
  families: Families;
  grantLimit: GrantLimit;
  binding: Binding;
  issuing: Issuing;
}

export function tokenHandlers(
  dependencies: TokenDependencies,
): Handlers<typeof TokenServiceService> {
  return {
    grantClientCredentials: grantClientCredentials(dependencies),
    signIn: signIn(dependencies),
    refresh: refresh(dependencies),
    grantJwtBearer: grantJwtBearer(dependencies),
    exchange: exchange(dependencies),
    revoke: revoke(dependencies),
    introspect: introspect(dependencies),
    batchIntrospect: batchIntrospect(dependencies),
    streamIntrospect: streamIntrospect(dependencies),
    getJwks: getJwks(dependencies),
    getServerMetadata: getServerMetadata(dependencies),
    listSignIns: listSignIns(dependencies),
    endSignIn: endSignIn(dependencies),
    endOtherSignIns: endOtherSignIns(dependencies),
    listSigningKeys: listSigningKeys(dependencies),
    rotateSigningKey: rotateSigningKey(dependencies),
    listAuditEvents: listAuditEvents(dependencies.db, "token", dependencies.cursors),
    endSubject: endSubject(dependencies),
  };
}
