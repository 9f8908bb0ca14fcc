import type { IdentityServiceService } from "#proto/waybill/identity/v1/identity.ts";
import type { Handlers } from "#shared/contract/handlers.ts";
import { listAuditEvents } from "../auditLog/listAuditEvents.ts";
import { audienceHandlers } from "./audiences.ts";
import { changeSecret } from "./changeSecret.ts";
import { findClient } from "./findClient.ts";
import { findIssuer } from "./findIssuer.ts";
import { issuerHandlers } from "./issuers.ts";
import { listKeyAuditEvents } from "./listKeyAuditEvents.ts";
import type { IdentityParts } from "./parts.ts";
import { scopeHandlers } from "./scopes.ts";
import { serviceAccountHandlers } from "./serviceAccounts.ts";
import { signUp } from "./signUp.ts";
import { userHandlers } from "./users.ts";
import { verifyUser } from "./verifyUser.ts";

export function identityHandlers(parts: IdentityParts): Handlers<typeof IdentityServiceService> {
  return {
    signUp: signUp(parts),
    changeSecret: changeSecret(parts),
    ...serviceAccountHandlers(parts),
    ...userHandlers(parts),
    ...issuerHandlers(parts),
    ...scopeHandlers(parts),
    ...audienceHandlers(parts),
    listAuditEvents: listAuditEvents(parts.db, "identity", parts.cursors),
    listKeyAuditEvents: listKeyAuditEvents(parts),
    findClient: findClient(parts),
    verifyUser: verifyUser(parts),
    findIssuer: findIssuer(parts),
  };
}
