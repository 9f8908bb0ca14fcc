import type { Context } from "waybill";
import { during } from "waybill/postgres";
import type {
  ChangeSecretRequest,
  ChangeSecretResponse,
} from "#proto/waybill/identity/v1/identity.ts";
import { IdentityErrors } from "../errors.ts";
import type { IdentityDependencies } from "../index.ts";
import { changeRow } from "../resources.ts";
import type { UserRow } from "../sql/readUserByName.ts";
import { readRow } from "../sql/rows.ts";
import { USERS } from "./user.ts";

/** Replaces the calling user's secret. Revokes all of the user's sign-ins and sessions. */
export const changeSecret =
  (dependencies: IdentityDependencies) =>
  async (
    { oldSecret, newSecret }: ChangeSecretRequest,
    context: Context,
  ): Promise<ChangeSecretResponse> => {
    const { db, hasher, attempts } = dependencies;
    const { subject } = context.token;
    if (!subject.startsWith("users/")) throw IdentityErrors.NOT_A_USER();
    const id = subject.slice("users/".length);
    // With a stolen token, an attacker could otherwise guess the secret here without a limit.
    const refund = await attempts.signIn(subject, context.origin.address);
    const row = await readRow<UserRow>(during(db, context), USERS.table, id);
    const { matches } = await hasher.verify(oldSecret, row?.secret_hash);
    if (!matches || row === undefined) throw IdentityErrors.SECRET_WRONG();
    await refund();
    await changeRow(dependencies, USERS, context, {
      id,
      // The version whose secret was checked: of two concurrent changes, one is refused.
      etag: `${row.revision}`,
      columns: { secret_hash: await hasher.hash(newSecret) },
      action: "changeSecret",
      revokes: () => true,
    });
    return {};
  };
