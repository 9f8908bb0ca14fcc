import type { TokenServiceService } from "#proto/waybill/token/v1/token.ts";
import type { Handlers } from "#shared/contract/handlers.ts";
import { listAuditEvents } from "../auditLog/listAuditEvents.ts";
import { endSubject } from "./endSubject.ts";
import { exchange } from "./exchange.ts";
import { getJwks } from "./getJwks.ts";
import { getServerMetadata } from "./getServerMetadata.ts";
import { grantClientCredentials } from "./grantClientCredentials.ts";
import { grantJwtBearer } from "./grantJwtBearer.ts";
import { batchIntrospect, introspect, streamIntrospect } from "./introspect.ts";
import type { TokenParts } from "./parts.ts";
import { refresh } from "./refresh.ts";
import { revoke } from "./revoke.ts";
import { signIn } from "./signIn.ts";
import { endOtherSignIns, endSignIn, listSignIns } from "./signIns.ts";
import { listSigningKeys, rotateSigningKey } from "./signingKeyMethods.ts";

export function tokenHandlers(parts: TokenParts): Handlers<typeof TokenServiceService> {
  return {
    grantClientCredentials: grantClientCredentials(parts),
    signIn: signIn(parts),
    refresh: refresh(parts),
    grantJwtBearer: grantJwtBearer(parts),
    exchange: exchange(parts),
    revoke: revoke(parts),
    introspect: introspect(parts),
    batchIntrospect: batchIntrospect(parts),
    streamIntrospect: streamIntrospect(parts),
    getJwks: getJwks(parts),
    getServerMetadata: getServerMetadata(parts),
    listSignIns: listSignIns(parts),
    endSignIn: endSignIn(parts),
    endOtherSignIns: endOtherSignIns(parts),
    listSigningKeys: listSigningKeys(parts),
    rotateSigningKey: rotateSigningKey(parts),
    listAuditEvents: listAuditEvents(parts.db, "token", parts.cursors),
    endSubject: endSubject(parts),
  };
}
