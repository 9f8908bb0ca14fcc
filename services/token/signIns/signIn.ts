import type { Context } from "waybill";
import { IdentityServiceService } from "#proto/waybill/identity/v1/identity.ts";
import type { SignInRequest, TokenResponse } from "#proto/waybill/token/v1/token.ts";
import { newUuid } from "#shared/runtime/ids.ts";
import { askIdentity } from "../clients/askIdentity.ts";
import { TokenErrors } from "../errors.ts";
import { common, narrow } from "../grants/wanted.ts";
import type { TokenDependencies } from "../index.ts";
import { toText } from "../tokens/binding.ts";
import { checkBinding } from "../tokens/issuing.ts";
import { deriveRefreshToken } from "./refreshTokens.ts";

/** Signs a user in: begins a family, and issues an access token and a refresh token. */
export const signIn =
  ({ clients, identity, assertions, binding, families, keys, issuing }: TokenDependencies) =>
  async (
    { client: given, username, secret, wanted, device }: SignInRequest,
    context: Context,
  ): Promise<TokenResponse> => {
    const { address } = context.origin;
    const client = await clients.identify(given);
    const confirmation = await binding.of(context);
    checkBinding(client, confirmation);
    const metadata = await assertions.to(IdentityServiceService.verifyUser);
    const user = await askIdentity(
      identity.verifyUser({ username, secret, address }, { metadata, context }),
    );
    if (user.name === "") throw TokenErrors.INVALID_GRANT({ cause: "wrong username or secret" });
    const reach = narrow(wanted, client === undefined ? user : common(user, client));
    const key = keys.current("refresh");
    const family = {
      id: newUuid(),
      subject: user.name,
      client: client?.name ?? "",
      ...reach,
      epoch: user.epoch,
      device,
      address,
      confirmation: toText(confirmation),
      keyId: key.id,
    };
    if (!(await families.begin(family))) {
      throw TokenErrors.INVALID_GRANT({ cause: "the user's sign-ins were ended concurrently" });
    }
    const position = { family: family.id, generation: 1, keyId: key.id };
    return issuing.issue(
      { ...family, family: family.id, confirmation, mayAct: wanted?.mayAct || undefined },
      deriveRefreshToken(position, key),
    );
  };
