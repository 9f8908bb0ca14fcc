import type { Context } from "waybill";
import type {
  DeleteAudienceRequest,
  DeleteAudienceResponse,
} from "#proto/waybill/identity/v1/identity.ts";
import { AUDIENCES } from "../grantables.ts";
import type { IdentityDependencies } from "../index.ts";
import { deleteResource } from "../resources.ts";

/** Deletes an audience. */
export const deleteAudience =
  (dependencies: IdentityDependencies) =>
  async (request: DeleteAudienceRequest, context: Context): Promise<DeleteAudienceResponse> => {
    await deleteResource(dependencies, AUDIENCES, request, context);
    return {};
  };
