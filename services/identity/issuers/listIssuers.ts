import type { Context } from "waybill";
import type {
  ListIssuersRequest,
  ListIssuersResponse,
} from "#proto/waybill/identity/v1/identity.ts";
import type { IdentityDependencies } from "../index.ts";
import { listResources } from "../resources.ts";
import { ISSUERS } from "./issuer.ts";

/** Lists trusted issuers, ordered by name. */
export const listIssuers =
  (dependencies: IdentityDependencies) =>
  async (request: ListIssuersRequest, context: Context): Promise<ListIssuersResponse> => {
    const { page, nextPageToken } = await listResources(dependencies, ISSUERS, request, context);
    return { issuers: page, nextPageToken };
  };
