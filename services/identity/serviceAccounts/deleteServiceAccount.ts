import type { Context } from "waybill";
import type {
  DeleteServiceAccountRequest,
  DeleteServiceAccountResponse,
} from "#proto/waybill/identity/v1/identity.ts";
import type { IdentityDependencies } from "../index.ts";
import { deleteResource } from "../resources.ts";
import { SERVICE_ACCOUNTS } from "./serviceAccount.ts";

/** Deletes a service account. Revokes every token issued to it. */
export const deleteServiceAccount =
  (dependencies: IdentityDependencies) =>
  async (
    request: DeleteServiceAccountRequest,
    context: Context,
  ): Promise<DeleteServiceAccountResponse> => {
    await deleteResource(dependencies, SERVICE_ACCOUNTS, request, context);
    return {};
  };
