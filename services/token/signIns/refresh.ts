import { createHash } from "node:crypto";
import type { RefreshRequest, TokenResponse } from "#proto/waybill/token/v1/token.ts";
import type { Context } from "#shared/contract/handlers.ts";
import { TokenErrors } from "../errors.ts";
import { narrow } from "../grants/wanted.ts";
import type { TokenDependencies } from "../index.ts";
import { toText } from "../tokens/binding.ts";
import { deriveRefreshToken, readRefreshToken } from "./refreshTokens.ts";

/**
 * A family of refresh tokens is a number, its generation: tokens before it are spent, that one is
 * good, none comes after. A token of generation `g`, presented to a family of generation `n`:
 *
 * | token        | presented                                                     | becomes |
 * |--------------|---------------------------------------------------------------|---------|
 * | any          | by another client, or without the key that it is bound to     | foreign: refused |
 * | any          | when the family has ended, or is too old                      | ended, expired: refused |
 * | g = n        |                                                               | next: n + 1 |
 * | g = n - 1    | by a client or key that is proven                             | same: n, again |
 * | g = n - 1    | with the idempotency key that n was made for                  | same: n, again |
 * | g = n - 1    | n was made without one, less than 10 s ago, nor is one here   | early: n, again |
 * | g = n - 1    | otherwise                                                     | reuse: the family ends |
 * | g < n - 1    |                                                               | reuse: the family ends |
 *
 * That n is unused shows in its being the newest. `early` is all that a client without a key of any
 * kind can be given, and a thief who goes in step with him looks just like him: so it is given in at
 * most four generations running, and the fifth is a reuse.
 *
 * One statement does it, with the family's row locked (sql/redeem.ts).
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
    if (position === undefined) throw TokenErrors.INVALID_GRANT({ cause: "not one of ours" });
    const { family, generation } = position;
    // Who is revoked must not go on until the end of his family is heard of here too.
    feed.revocations.assertFresh();
    const isBound = confirmation !== undefined;
    const redeemed = await families.present({
      family,
      generation,
      redemption: idempotencyKey ? createHash("sha256").update(idempotencyKey).digest() : null,
      client: client?.name ?? "",
      confirmation: toText(confirmation),
      isProven: isBound || (client !== undefined && !client.isPublic),
      address: context.origin.address,
    });
    if (redeemed === undefined) throw TokenErrors.INVALID_GRANT({ cause: "no such family" });
    const { outcome, subject, epoch } = redeemed;
    if (outcome !== "next" && outcome !== "same" && outcome !== "early") {
      throw TokenErrors.INVALID_GRANT({ cause: outcome });
    }
    if (feed.revocations.has({ subject, epoch, family })) {
      throw TokenErrors.INVALID_GRANT({ cause: "it is revoked" });
    }
    const key = await keys.refreshKey(redeemed.keyId);
    if (key === undefined) throw TokenErrors.INVALID_GRANT({ cause: "its key is gone" });
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
