import type { Context } from "waybill";
import type { ListScopesRequest, ListScopesResponse } from "#proto/waybill/identity/v1/identity.ts";
import { SCOPES } from "../grantables.ts";
import type { IdentityDependencies } from "../index.ts";
import { listResources } from "../resources.ts";

/** Lists scopes, ordered by name. */
export const listScopes =
  (dependencies: IdentityDependencies) =>
  async (request: ListScopesRequest, context: Context): Promise<ListScopesResponse> => {
    const { page, nextPageToken } = await listResources(dependencies, SCOPES, request, context);
    return { scopes: page, nextPageToken };
  };
