import type { Context } from "waybill";
import type {
  SetUserSecretRequest,
  SetUserSecretResponse,
} from "#proto/waybill/identity/v1/identity.ts";
import type { IdentityDependencies } from "../index.ts";
import { changeRow } from "../resources.ts";
import { USERS } from "./user.ts";

/** Replaces a user's secret, as an administrator. Revokes the user's sign-ins and sessions. */
export const setUserSecret =
  (dependencies: IdentityDependencies) =>
  async (
    { name, secret }: SetUserSecretRequest,
    context: Context,
  ): Promise<SetUserSecretResponse> => {
    const secret_hash = await dependencies.hasher.hash(secret);
    await changeRow(dependencies, USERS, context, {
      id: name.slice("users/".length),
      etag: "",
      columns: { secret_hash },
      action: "setSecret",
      revokes: () => true,
    });
    return {};
  };
