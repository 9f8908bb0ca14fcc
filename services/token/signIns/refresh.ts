import { createHash } from "node:crypto";
import type { Context } from "waybill";
import type { RefreshRequest, TokenResponse } from "#proto/waybill/token/v1/token.ts";
import { TokenErrors } from "../errors.ts";
import { narrow } from "../grants/wanted.ts";
import type { TokenDependencies } from "../index.ts";
import { toText } from "../tokens/binding.ts";
import { deriveRefreshToken, readRefreshToken } from "./refreshTokens.ts";

/**
 * Issues an access token and the next refresh token for a refresh token (RFC 9700 section 4.14).
 *
 * A family has a generation `n`. The token of generation `n` is unused; earlier tokens are spent. For a
 * token of generation `g`:
 *
 * | token        | condition                                                     | outcome |
 * |--------------|---------------------------------------------------------------|---------|
 * | any          | another client, or not the key that the token is bound to     | foreign: refused |
 * | any          | the family has ended or expired                               | ended, expired: refused |
 * | g = n        |                                                               | next: n + 1 |
 * | g = n - 1    | the client has proven its secret or key                       | same: n again |
 * | g = n - 1    | the idempotency key that n was issued for                     | same: n again |
 * | g = n - 1    | no idempotency key, then or now, and n was issued < 10 s ago  | early: n again |
 * | g = n - 1    | otherwise                                                     | reuse: the family ends |
 * | g < n - 1    |                                                               | reuse: the family ends |
 *
 * `early` serves clients without any key that lost a response. A thief who refreshes in step with the
 * client looks the same, so `early` is allowed in at most four consecutive generations.
 *
 * One statement decides and updates under the family's row lock (`sql/redeem.ts`).
 */
export const refresh =
  ({ clients, binding, keys, families, issuing, feed }: TokenDependencies) =>
  async (
    { client: given, refreshToken, wanted, idempotencyKey }: RefreshRequest,
    context: Context,
  ): Promise<TokenResponse> => {
    const client = await clients.identify(given);
    const confirmation = await binding.of(context);
    const position = await readRefreshToken(refreshToken, (id) => keys.refreshKey(id));
    if (position === undefined)
      throw TokenErrors.INVALID_GRANT({ cause: "not a refresh token of this system" });
    const { family, generation } = position;
    // A stale feed may lack the revocation of this family.
    feed.revocations.assertFresh();
    const isBound = confirmation !== undefined;
    const redeemed = await families.redeem({
      family,
      generation,
      redemption: idempotencyKey ? createHash("sha256").update(idempotencyKey).digest() : null,
      client: client?.name ?? "",
      confirmation: toText(confirmation),
      isProven: isBound || (client !== undefined && !client.isPublic),
      address: context.origin.address,
    });
    if (redeemed === undefined) throw TokenErrors.INVALID_GRANT({ cause: "unknown family" });
    const { outcome, subject, epoch } = redeemed;
    if (outcome !== "next" && outcome !== "same" && outcome !== "early") {
      throw TokenErrors.INVALID_GRANT({ cause: outcome });
    }
    if (feed.revocations.has({ subject, epoch, family })) {
      throw TokenErrors.INVALID_GRANT({ cause: "revoked" });
    }
    const key = await keys.refreshKey(redeemed.keyId);
    if (key === undefined) throw TokenErrors.INVALID_GRANT({ cause: "the key was deleted" });
    const until = redeemed.expiresAtS;
    return issuing.issue(
      {
        subject,
        client: redeemed.client,
        epoch,
        family,
        ...narrow(wanted, redeemed),
        confirmation,
        mayAct: wanted?.mayAct || undefined,
        until,
      },
      deriveRefreshToken({ family, generation: redeemed.generation, keyId: key.id }, key),
    );
  };
