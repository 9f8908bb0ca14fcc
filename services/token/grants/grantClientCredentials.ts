import type { Context } from "waybill";
import type {
  GrantClientCredentialsRequest,
  TokenResponse,
} from "#proto/waybill/token/v1/token.ts";
import type { TokenDependencies } from "../index.ts";
import { grantToClient } from "./grantToClient.ts";

/** Issues an access token to a service account for itself (RFC 6749 section 4.4). */
export const grantClientCredentials =
  (dependencies: TokenDependencies) =>
  async (
    { client, wanted }: GrantClientCredentialsRequest,
    context: Context,
  ): Promise<TokenResponse> =>
    grantToClient(dependencies, context, "token.clientCredentials", wanted, {
      client: await dependencies.clients.authenticate(client),
    });
