import { type Context, Errors } from "waybill";
import { during } from "waybill/postgres";
import type {
  Exchange,
  FindClientRequest,
  FindClientResponse,
} from "#proto/waybill/identity/v1/identity.ts";
import type { IdentityDependencies } from "../index.ts";
import { readRow } from "../sql/rows.ts";
import { SERVICE_ACCOUNTS, type ServiceAccountRow } from "./serviceAccount.ts";

/** Reads the credentials and permissions of a service account, for the token service only. */
export const findClient =
  ({ db }: IdentityDependencies) =>
  async ({ name }: FindClientRequest, context: Context): Promise<FindClientResponse> => {
    const { caller, method } = context;
    if (caller.service !== "token") throw Errors.ACCESS_DENIED({ metadata: { method } });
    const [, id] = /^serviceAccounts\/([a-z][a-z0-9-]{0,62})$/.exec(name) ?? [];
    if (id === undefined) return { client: undefined };
    const { table } = SERVICE_ACCOUNTS;
    const row = await readRow<ServiceAccountRow>(during(db, context), table, id);
    if (row === undefined || row.disabled) return { client: undefined };
    const { epoch, scopes, audiences } = row;
    return {
      client: {
        subject: { name: `serviceAccounts/${row.id}`, epoch, scopes, audiences },
        secretDigest: row.secret_digest ?? Buffer.alloc(0),
        jwks: row.jwks,
        public: row.public,
        exchange: row.exchange as Exchange,
        requireBinding: row.require_binding,
      },
    };
  };
