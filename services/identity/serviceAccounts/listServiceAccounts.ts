import type { Context } from "waybill";
import type {
  ListServiceAccountsRequest,
  ListServiceAccountsResponse,
} from "#proto/waybill/identity/v1/identity.ts";
import type { IdentityDependencies } from "../index.ts";
import { listResources } from "../resources.ts";
import { SERVICE_ACCOUNTS } from "./serviceAccount.ts";

/** Lists service accounts, ordered by name. */
export const listServiceAccounts =
  (dependencies: IdentityDependencies) =>
  async (
    request: ListServiceAccountsRequest,
    context: Context,
  ): Promise<ListServiceAccountsResponse> => {
    const { page, nextPageToken } = await listResources(
      dependencies,
      SERVICE_ACCOUNTS,
      request,
      context,
    );
    return { serviceAccounts: page, nextPageToken };
  };
