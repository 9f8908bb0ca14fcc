import { type SignUpRequest, User } from "#proto/waybill/identity/v1/identity.ts";
import type { Context } from "#shared/contract/handlers.ts";
import { Errors } from "#shared/errors.ts";
import { newUuid } from "#shared/runtime/ids.ts";
import type { IdentityParts } from "./parts.ts";
import { StandardMethods } from "./standardMethods.ts";
import { USERS } from "./users.ts";

export const signUp = (parts: IdentityParts) => {
  const methods = new StandardMethods(USERS, parts);
  return async (
    { username, secret, displayName }: SignUpRequest,
    context: Context,
  ): Promise<User> => {
    if (!parts.openSignUp) throw Errors.ACCESS_DENIED({ metadata: { method: context.method } });
    await parts.attempts.signUp(context.origin.address);
    const secret_hash = await parts.hasher.hash(secret);
    const user = User.fromPartial({ username, displayName });
    return methods.create(newUuid(), user, context, { secret_hash });
  };
};
