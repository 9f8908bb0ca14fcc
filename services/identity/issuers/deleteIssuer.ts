import type { Context } from "waybill";
import type {
  DeleteIssuerRequest,
  DeleteIssuerResponse,
} from "#proto/waybill/identity/v1/identity.ts";
import type { IdentityDependencies } from "../index.ts";
import { deleteResource } from "../resources.ts";
import { ISSUERS } from "./issuer.ts";

/** Deletes a trusted issuer. */
export const deleteIssuer =
  (dependencies: IdentityDependencies) =>
  async (request: DeleteIssuerRequest, context: Context): Promise<DeleteIssuerResponse> => {
    await deleteResource(dependencies, ISSUERS, request, context);
    return {};
  };
