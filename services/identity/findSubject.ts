import type { FindSubjectRequest, Subject } from "#proto/waybill/identity/v1/identity.ts";
import type { Context } from "#shared/grpc/handlers.ts";
import { during } from "#shared/pg/during.ts";
import { onlyToken } from "./authorizeService.ts";
import type { IdentityParts } from "./parts.ts";
import { SERVICE_ACCOUNTS, type ServiceAccountRow } from "./serviceAccounts.ts";
import { readRow } from "./sql/rows.ts";
import { NOBODY, subjectOfServiceAccount, subjectOfUser } from "./subjects.ts";
import { USERS, type UserRow } from "./users.ts";

const NAME =
  /^(?:serviceAccounts\/(?<account>[a-z][a-z0-9-]{0,62})|users\/(?<user>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}))$/;

export const findSubject =
  ({ db }: IdentityParts) =>
  async ({ name }: FindSubjectRequest, context: Context): Promise<Subject> => {
    onlyToken(context);
    const { account, user } = NAME.exec(name)?.groups ?? {};
    const call = during(db, context);
    if (account !== undefined) {
      const row = await readRow<ServiceAccountRow>(call, SERVICE_ACCOUNTS.table, account);
      return row === undefined || row.disabled ? NOBODY : subjectOfServiceAccount(row);
    }
    if (user !== undefined) {
      const row = await readRow<UserRow>(call, USERS.table, user);
      return row === undefined || row.disabled ? NOBODY : subjectOfUser(call, row);
    }
    return NOBODY;
  };
