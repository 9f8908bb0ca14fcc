import type { Context } from "waybill";
import type {
  DeleteScopeRequest,
  DeleteScopeResponse,
} from "#proto/waybill/identity/v1/identity.ts";
import { SCOPES } from "../grantables.ts";
import type { IdentityDependencies } from "../index.ts";
import { deleteResource } from "../resources.ts";

/** Deletes a scope. */
export const deleteScope =
  (dependencies: IdentityDependencies) =>
  async (request: DeleteScopeRequest, context: Context): Promise<DeleteScopeResponse> => {
    await deleteResource(dependencies, SCOPES, request, context);
    return {};
  };
