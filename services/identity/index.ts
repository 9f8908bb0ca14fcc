import type { Cursors, Handlers } from "waybill";
import type { Assertions } from "waybill/auth";
import type { ServiceClient } from "waybill/client";
import type { Pool } from "waybill/postgres";
import type { IdentityServiceService } from "#proto/waybill/identity/v1/identity.ts";
import type { KeysServiceService } from "#proto/waybill/keys/v1/keys.ts";
import type { AuditLog } from "../auditLog/auditLog.ts";
import { listAuditEvents } from "../auditLog/listAuditEvents.ts";
import type { Attempts } from "./attempts.ts";
import { createAudience } from "./audiences/createAudience.ts";
import { deleteAudience } from "./audiences/deleteAudience.ts";
import { getAudience } from "./audiences/getAudience.ts";
import { listAudiences } from "./audiences/listAudiences.ts";
import { updateAudience } from "./audiences/updateAudience.ts";
import { createIssuer } from "./issuers/createIssuer.ts";
import { deleteIssuer } from "./issuers/deleteIssuer.ts";
import { findIssuer } from "./issuers/findIssuer.ts";
import { getIssuer } from "./issuers/getIssuer.ts";
import { listIssuers } from "./issuers/listIssuers.ts";
import { updateIssuer } from "./issuers/updateIssuer.ts";
import { listKeyAuditEvents } from "./listKeyAuditEvents.ts";
import type { Outbox } from "./outbox.ts";
import { createScope } from "./scopes/createScope.ts";
import { deleteScope } from "./scopes/deleteScope.ts";
import { getScope } from "./scopes/getScope.ts";
import { listScopes } from "./scopes/listScopes.ts";
import { updateScope } from "./scopes/updateScope.ts";
import type { SecretHasher } from "./secretHasher.ts";
import { createServiceAccount } from "./serviceAccounts/createServiceAccount.ts";
import { deleteServiceAccount } from "./serviceAccounts/deleteServiceAccount.ts";
import { findClient } from "./serviceAccounts/findClient.ts";
import { getServiceAccount } from "./serviceAccounts/getServiceAccount.ts";
import { listServiceAccounts } from "./serviceAccounts/listServiceAccounts.ts";
import { rotateServiceAccountSecret } from "./serviceAccounts/rotateServiceAccountSecret.ts";
import { updateServiceAccount } from "./serviceAccounts/updateServiceAccount.ts";
import { changeSecret } from "./users/changeSecret.ts";
import { createUser } from "./users/createUser.ts";
import { deleteUser } from "./users/deleteUser.ts";
import { endUserSessions } from "./users/endUserSessions.ts";
import { getUser } from "./users/getUser.ts";
import { listUsers } from "./users/listUsers.ts";
import { setUserSecret } from "./users/setUserSecret.ts";
import { signUp } from "./users/signUp.ts";
import { updateUser } from "./users/updateUser.ts";
import { verifyUser } from "./users/verifyUser.ts";

export interface IdentityDependencies {
  db: Pool;
  cursors: Cursors;
  audit: AuditLog;
  outbox: Outbox;
  hasher: SecretHasher;
  /** Lets callers without an account sign up. */
  openSignUp: boolean;
  attempts: Attempts;
  keys: Pick<ServiceClient<typeof KeysServiceService>, "listAuditEvents">;
  assertions: Assertions;
}

export function identityHandlers(
  dependencies: IdentityDependencies,
): Handlers<typeof IdentityServiceService> {
  return {
    changeSecret: changeSecret(dependencies),
    createUser: createUser(dependencies),
    deleteUser: deleteUser(dependencies),
    endUserSessions: endUserSessions(dependencies),
    getUser: getUser(dependencies),
    listUsers: listUsers(dependencies),
    setUserSecret: setUserSecret(dependencies),
    signUp: signUp(dependencies),
    updateUser: updateUser(dependencies),
    verifyUser: verifyUser(dependencies),
    createServiceAccount: createServiceAccount(dependencies),
    deleteServiceAccount: deleteServiceAccount(dependencies),
    findClient: findClient(dependencies),
    getServiceAccount: getServiceAccount(dependencies),
    listServiceAccounts: listServiceAccounts(dependencies),
    rotateServiceAccountSecret: rotateServiceAccountSecret(dependencies),
    updateServiceAccount: updateServiceAccount(dependencies),
    createIssuer: createIssuer(dependencies),
    deleteIssuer: deleteIssuer(dependencies),
    findIssuer: findIssuer(dependencies),
    getIssuer: getIssuer(dependencies),
    listIssuers: listIssuers(dependencies),
    updateIssuer: updateIssuer(dependencies),
    createScope: createScope(dependencies),
    deleteScope: deleteScope(dependencies),
    getScope: getScope(dependencies),
    listScopes: listScopes(dependencies),
    updateScope: updateScope(dependencies),
    createAudience: createAudience(dependencies),
    deleteAudience: deleteAudience(dependencies),
    getAudience: getAudience(dependencies),
    listAudiences: listAudiences(dependencies),
    updateAudience: updateAudience(dependencies),
    listAuditEvents: listAuditEvents(dependencies.db, "identity", dependencies.cursors),
    listKeyAuditEvents: listKeyAuditEvents(dependencies),
  };
}
