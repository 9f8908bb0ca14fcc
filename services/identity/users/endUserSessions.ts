import type { Context } from "waybill";
import type {
  EndUserSessionsRequest,
  EndUserSessionsResponse,
} from "#proto/waybill/identity/v1/identity.ts";
import type { IdentityDependencies } from "../index.ts";
import { changeRow } from "../resources.ts";
import { selfOrAdmin, USERS } from "./user.ts";

/** Revokes a user's sign-ins, tokens and sessions: the caller's, or any user's for an administrator. */
export const endUserSessions =
  (dependencies: IdentityDependencies) =>
  async ({ name }: EndUserSessionsRequest, context: Context): Promise<EndUserSessionsResponse> => {
    await changeRow(dependencies, USERS, context, {
      id: selfOrAdmin(name, context).slice("users/".length),
      etag: "",
      columns: {},
      action: "endSessions",
      revokes: () => true,
    });
    return {};
  };
