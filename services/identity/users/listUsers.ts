import type { Context } from "waybill";
import type { ListUsersRequest, ListUsersResponse } from "#proto/waybill/identity/v1/identity.ts";
import type { IdentityDependencies } from "../index.ts";
import { listResources } from "../resources.ts";
import { USERS } from "./user.ts";

/** Lists users, ordered by name. */
export const listUsers =
  (dependencies: IdentityDependencies) =>
  async (request: ListUsersRequest, context: Context): Promise<ListUsersResponse> => {
    const { page, nextPageToken } = await listResources(dependencies, USERS, request, context);
    return { users: page, nextPageToken };
  };
