import type {
  Exchange,
  FindClientRequest,
  FindClientResponse,
} from "#proto/waybill/identity/v1/identity.ts";
import type { Context } from "#shared/contract/handlers.ts";
import { during } from "#shared/pg/during.ts";
import { onlyToken } from "./authorizeService.ts";
import type { IdentityParts } from "./parts.ts";
import { SERVICE_ACCOUNTS, type ServiceAccountRow } from "./serviceAccounts.ts";
import { readRow } from "./sql/rows.ts";
import { subjectOfServiceAccount } from "./subjects.ts";

export const findClient =
  ({ db }: IdentityParts) =>
  async ({ name }: FindClientRequest, context: Context): Promise<FindClientResponse> => {
    onlyToken(context);
    const [, id] = /^serviceAccounts\/([a-z][a-z0-9-]{0,62})$/.exec(name) ?? [];
    if (id === undefined) return { client: undefined };
    const { table } = SERVICE_ACCOUNTS;
    const row = await readRow<ServiceAccountRow>(during(db, context), table, id);
    if (row === undefined || row.disabled) return { client: undefined };
    return {
      client: {
        subject: subjectOfServiceAccount(row),
        secretDigest: row.secret_digest ?? Buffer.alloc(0),
        jwks: row.jwks,
        public: row.public,
        exchange: row.exchange as Exchange,
        requireBinding: row.require_binding,
      },
    };
  };
