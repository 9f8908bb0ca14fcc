import type { Subject, VerifyUserRequest } from "#proto/waybill/identity/v1/identity.ts";
import type { Context } from "#shared/contract/handlers.ts";
import { during } from "#shared/pg/during.ts";
import { onlyToken } from "./authorizeService.ts";
import type { IdentityParts } from "./parts.ts";
import { readUserByName } from "./sql/readUserByName.ts";
import { upgradeSecretHash } from "./sql/upgradeSecretHash.ts";
import { NOBODY, subjectOfUser } from "./subjects.ts";

export const verifyUser =
  ({ db, hasher, attempts, audit }: IdentityParts) =>
  async ({ username, secret, address }: VerifyUserRequest, context: Context): Promise<Subject> => {
    onlyToken(context);
    const refund = await attempts.signIn(username, address);
    const user = await readUserByName(during(db, context), username);
    // An account that is not there costs the same work as a wrong secret.
    const { matches, isOutdated } = await hasher.verify(secret, user?.secret_hash);
    if (!matches || user === undefined || user.disabled) {
      // What was typed as the name may be a secret that was typed in the wrong place.
      const target = user === undefined ? "" : `users/${user.id}`;
      await audit.write({ action: "user.signIn", outcome: "REFUSED", target, address });
      return NOBODY;
    }
    await refund();
    if (isOutdated) {
      await upgradeSecretHash(db, user.id, user.secret_hash, await hasher.hash(secret));
    }
    return subjectOfUser(db, user);
  };
