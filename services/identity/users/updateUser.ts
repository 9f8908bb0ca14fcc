import type { Context } from "waybill";
import type { UpdateUserRequest, User } from "#proto/waybill/identity/v1/identity.ts";
import type { IdentityDependencies } from "../index.ts";
import { updateResource } from "../resources.ts";
import { USERS } from "./user.ts";

/** Changes a user. Revokes the user's tokens when it disables the user or changes scopes. */
export const updateUser =
  (dependencies: IdentityDependencies) =>
  ({ user, updateMask }: UpdateUserRequest, context: Context): Promise<User> =>
    updateResource(dependencies, USERS, user!, updateMask, context);
