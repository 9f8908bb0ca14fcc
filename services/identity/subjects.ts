import type { Subject } from "#proto/waybill/identity/v1/identity.ts";
import type { Db } from "#shared/pg/pool.ts";
import type { ServiceAccountRow } from "./serviceAccounts.ts";
import { readGrantedToUsers } from "./sql/readGrantedToUsers.ts";
import type { UserRow } from "./sql/readUserByName.ts";

/** What is answered of a subject that is not there, or is disabled. */
export const NOBODY: Subject = Object.freeze({ name: "", epoch: 0, scopes: [], audiences: [] });

export async function subjectOfUser(db: Db, user: UserRow): Promise<Subject> {
  const granted = await readGrantedToUsers(db);
  return {
    name: `users/${user.id}`,
    epoch: user.epoch,
    scopes: [...new Set([...granted.scopes, ...user.scopes])],
    audiences: granted.audiences,
  };
}

export function subjectOfServiceAccount(account: ServiceAccountRow): Subject {
  return {
    name: `serviceAccounts/${account.id}`,
    epoch: account.epoch,
    scopes: account.scopes,
    audiences: account.audiences,
  };
}
