import type { Context } from "waybill";
import type { GetUserRequest, User } from "#proto/waybill/identity/v1/identity.ts";
import type { IdentityDependencies } from "../index.ts";
import { getResource } from "../resources.ts";
import { selfOrAdmin, USERS } from "./user.ts";

/** Reads a user: the caller, or any user for an administrator. */
export const getUser =
  (dependencies: IdentityDependencies) =>
  async ({ name }: GetUserRequest, context: Context): Promise<User> =>
    getResource(dependencies, USERS, selfOrAdmin(name, context), context);
