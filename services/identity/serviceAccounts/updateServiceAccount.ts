import type { Context } from "waybill";
import type {
  ServiceAccount,
  UpdateServiceAccountRequest,
} from "#proto/waybill/identity/v1/identity.ts";
import type { IdentityDependencies } from "../index.ts";
import { updateResource } from "../resources.ts";
import { checkJwks, SERVICE_ACCOUNTS } from "./serviceAccount.ts";

/**
 * Changes a service account. Revokes its tokens when it disables the account or changes its keys,
 * scopes, audiences or `public`.
 */
export const updateServiceAccount =
  (dependencies: IdentityDependencies) =>
  async (
    { serviceAccount, updateMask }: UpdateServiceAccountRequest,
    context: Context,
  ): Promise<ServiceAccount> => {
    await checkJwks(serviceAccount!.jwks);
    return updateResource(dependencies, SERVICE_ACCOUNTS, serviceAccount!, updateMask, context);
  };
