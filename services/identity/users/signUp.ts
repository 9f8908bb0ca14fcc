import { type Context, Errors } from "waybill";
import { type SignUpRequest, User } from "#proto/waybill/identity/v1/identity.ts";
import { newUuid } from "#shared/runtime/ids.ts";
import type { IdentityDependencies } from "../index.ts";
import { createResource } from "../resources.ts";
import { USERS } from "./user.ts";

/** Creates a user for a caller without an account, where sign-up is open. */
export const signUp =
  (dependencies: IdentityDependencies) =>
  async ({ username, secret, displayName }: SignUpRequest, context: Context): Promise<User> => {
    const { openSignUp, attempts, hasher } = dependencies;
    if (!openSignUp) throw Errors.ACCESS_DENIED({ metadata: { method: context.method } });
    await attempts.signUp(context.origin.address);
    const secret_hash = await hasher.hash(secret);
    const user = User.fromPartial({ username, displayName });
    return createResource(dependencies, USERS, newUuid(), user, context, { secret_hash });
  };
