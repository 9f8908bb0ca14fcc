import type { Context } from "waybill";
import type { DeleteUserRequest, DeleteUserResponse } from "#proto/waybill/identity/v1/identity.ts";
import type { IdentityDependencies } from "../index.ts";
import { deleteResource } from "../resources.ts";
import { USERS } from "./user.ts";

/** Deletes a user. Revokes every token issued to it. */
export const deleteUser =
  (dependencies: IdentityDependencies) =>
  async (request: DeleteUserRequest, context: Context): Promise<DeleteUserResponse> => {
    await deleteResource(dependencies, USERS, request, context);
    return {};
  };
