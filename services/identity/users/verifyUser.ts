import { type Context, Errors } from "waybill";
import { during } from "waybill/postgres";
import type { Subject, VerifyUserRequest } from "#proto/waybill/identity/v1/identity.ts";
import type { IdentityDependencies } from "../index.ts";
import { readGrantedToUsers } from "../sql/readGrantedToUsers.ts";
import { readUserByName } from "../sql/readUserByName.ts";
import { upgradeSecretHash } from "../sql/upgradeSecretHash.ts";

/** The response for an unknown or disabled user, and for a wrong secret. */
const REFUSED: Subject = Object.freeze({ name: "", epoch: 0, scopes: [], audiences: [] });

/** Checks a username and secret, for the token service only. */
export const verifyUser =
  ({ db, hasher, attempts, audit }: IdentityDependencies) =>
  async ({ username, secret, address }: VerifyUserRequest, context: Context): Promise<Subject> => {
    const { caller, method } = context;
    if (caller.service !== "token") throw Errors.ACCESS_DENIED({ metadata: { method } });
    const refund = await attempts.signIn(username, address);
    const user = await readUserByName(during(db, context), username);
    // An unknown username takes as long as a wrong secret, so timing does not reveal usernames.
    const { matches, isOutdated } = await hasher.verify(secret, user?.secret_hash);
    if (!matches || user === undefined || user.disabled) {
      // The unknown username is not recorded: it may be a secret typed into the wrong field.
      const target = user === undefined ? "" : `users/${user.id}`;
      await audit.write({ action: "user.signIn", outcome: "REFUSED", target, address });
      return REFUSED;
    }
    await refund();
    if (isOutdated) {
      await upgradeSecretHash(db, user.id, user.secret_hash, await hasher.hash(secret));
    }
    const granted = await readGrantedToUsers(db);
    return {
      name: `users/${user.id}`,
      epoch: user.epoch,
      scopes: [...new Set([...granted.scopes, ...user.scopes])],
      audiences: granted.audiences,
    };
  };
