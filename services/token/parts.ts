import type { IdentityServiceService } from "#proto/waybill/identity/v1/identity.ts";
import type { Assertions } from "#shared/auth/assertions.ts";
import type { TokenAuthentication } from "#shared/auth/authentication.ts";
import type { RevocationFeed } from "#shared/auth/revocationFeed.ts";
import type { AccessTokens } from "#shared/auth/tokens/accessTokens.ts";
import type { ServiceClient } from "#shared/client/client.ts";
import type { Pool } from "#shared/pg/pool.ts";
import type { Cursors } from "#shared/waybill/cursors.ts";
import type { AuditLog } from "../auditLog/auditLog.ts";
import type { Binding } from "./binding.ts";
import type { Clients } from "./clients.ts";
import type { ExternalIssuers } from "./externalIssuers.ts";
import type { Families } from "./families.ts";
import type { Grants } from "./grants.ts";
import type { Issuing } from "./issuing.ts";
import type { SigningKeys } from "./signingKeys.ts";

/** What the handlers share. */
export interface TokenParts {
  db: Pool;
  /** This system's issuer address, and the addresses that it is called by. */
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
  grants: Grants;
  binding: Binding;
  issuing: Issuing;
}
