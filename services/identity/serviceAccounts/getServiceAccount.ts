import type { Context } from "waybill";
import type {
  GetServiceAccountRequest,
  ServiceAccount,
} from "#proto/waybill/identity/v1/identity.ts";
import type { IdentityDependencies } from "../index.ts";
import { getResource } from "../resources.ts";
import { SERVICE_ACCOUNTS } from "./serviceAccount.ts";

/** Reads a service account. */
export const getServiceAccount =
  (dependencies: IdentityDependencies) =>
  ({ name }: GetServiceAccountRequest, context: Context): Promise<ServiceAccount> =>
    getResource(dependencies, SERVICE_ACCOUNTS, name, context);
