import type {
  GrantClientCredentialsRequest,
  TokenResponse,
} from "#proto/waybill/token/v1/token.ts";
import type { Context } from "#shared/contract/handlers.ts";
import { grantToClient } from "./grantToClient.ts";
import type { TokenParts } from "./parts.ts";

export const grantClientCredentials =
  (parts: TokenParts) =>
  async (
    { client, wanted }: GrantClientCredentialsRequest,
    context: Context,
  ): Promise<TokenResponse> =>
    grantToClient(parts, context, "token.clientCredentials", wanted, {
      client: await parts.clients.authenticate(client),
    });
