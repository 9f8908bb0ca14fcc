import type { Context } from "waybill";
import type {
  ListAudiencesRequest,
  ListAudiencesResponse,
} from "#proto/waybill/identity/v1/identity.ts";
import { AUDIENCES } from "../grantables.ts";
import type { IdentityDependencies } from "../index.ts";
import { listResources } from "../resources.ts";

/** Lists audiences, ordered by name. */
export const listAudiences =
  (dependencies: IdentityDependencies) =>
  async (request: ListAudiencesRequest, context: Context): Promise<ListAudiencesResponse> => {
    const { page, nextPageToken } = await listResources(dependencies, AUDIENCES, request, context);
    return { audiences: page, nextPageToken };
  };
