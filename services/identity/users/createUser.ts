import type { Context } from "waybill";
import type { CreateUserRequest, User } from "#proto/waybill/identity/v1/identity.ts";
import { newUuid } from "#shared/runtime/ids.ts";
import type { IdentityDependencies } from "../index.ts";
import { createResource } from "../resources.ts";
import { USERS } from "./user.ts";

/** Creates a user with a secret. */
export const createUser =
  (dependencies: IdentityDependencies) =>
  async ({ user, secret }: CreateUserRequest, context: Context): Promise<User> => {
    const secret_hash = await dependencies.hasher.hash(secret);
    return createResource(dependencies, USERS, newUuid(), user!, context, { secret_hash });
  };
