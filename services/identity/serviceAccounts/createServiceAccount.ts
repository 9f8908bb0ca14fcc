import type { Context } from "waybill";
import type {
  CreateServiceAccountRequest,
  ServiceAccount,
} from "#proto/waybill/identity/v1/identity.ts";
import type { IdentityDependencies } from "../index.ts";
import { createResource } from "../resources.ts";
import { checkJwks, SERVICE_ACCOUNTS } from "./serviceAccount.ts";

/** Creates a service account, without a secret. */
export const createServiceAccount =
  (dependencies: IdentityDependencies) =>
  async (
    { serviceAccount, serviceAccountId }: CreateServiceAccountRequest,
    context: Context,
  ): Promise<ServiceAccount> => {
    await checkJwks(serviceAccount!.jwks);
    return createResource(
      dependencies,
      SERVICE_ACCOUNTS,
      serviceAccountId,
      serviceAccount!,
      context,
    );
  };
