import type {
  ChangeSecretRequest,
  ChangeSecretResponse,
} from "#proto/waybill/identity/v1/identity.ts";
import type { Context } from "#shared/contract/handlers.ts";
import { during } from "#shared/pg/during.ts";
import { IdentityErrors } from "./errors.ts";
import type { IdentityParts } from "./parts.ts";
import type { UserRow } from "./sql/readUserByName.ts";
import { readRow } from "./sql/rows.ts";
import { StandardMethods } from "./standardMethods.ts";
import { USERS } from "./users.ts";

export const changeSecret = (parts: IdentityParts) => {
  const methods = new StandardMethods(USERS, parts);
  return async (
    { oldSecret, newSecret }: ChangeSecretRequest,
    context: Context,
  ): Promise<ChangeSecretResponse> => {
    const { subject } = context.token;
    if (!subject.startsWith("users/")) throw IdentityErrors.NOT_A_USER();
    const id = subject.slice("users/".length);
    // Whoever has got hold of a token must not find out the secret with it.
    const refund = await parts.attempts.signIn(subject, context.origin.address);
    const row = await readRow<UserRow>(during(parts.db, context), USERS.table, id);
    const { matches } = await parts.hasher.verify(oldSecret, row?.secret_hash);
    if (!matches || row === undefined) throw IdentityErrors.SECRET_WRONG();
    await refund();
    const columns = { secret_hash: await parts.hasher.hash(newSecret) };
    // Only as it was when the old secret was its: of two changes at once, one is refused.
    await methods.change(context, id, `${row.revision}`, columns, "changeSecret", {
      newEpoch: () => true,
    });
    return {};
  };
};
