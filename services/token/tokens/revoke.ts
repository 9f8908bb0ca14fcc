import { type Context, StatusError } from "waybill";
import type { AccessToken } from "waybill/auth";
import type { RevokeRequest, RevokeResponse } from "#proto/waybill/token/v1/token.ts";
import { MAX_SKEW_S } from "#shared/auth/tokens/accessTokens.ts";
import type { TokenDependencies } from "../index.ts";
import { readRefreshToken } from "../signIns/refreshTokens.ts";
import { readFamilyOwner } from "../signIns/sql/readFamilyOwner.ts";

/** Revokes a token. An invalid token, or one of another client, gets the same response (RFC 7009 section 2.2). */
export const revoke =
  (dependencies: TokenDependencies) =>
  async ({ client: given, token }: RevokeRequest, context: Context): Promise<RevokeResponse> => {
    const { clients, keys, families, feed, audit, db } = dependencies;
    const client = (await clients.identify(given))?.name ?? "";
    const position = await readRefreshToken(token, (id) => keys.refreshKey(id));
    if (position !== undefined) {
      const { family: only } = position;
      const owner = await readFamilyOwner(db, only);
      if (owner?.client === client) await families.end(owner.subject, { only }, "revoked", context);
      return {};
    }
    const access = await verified(dependencies, token);
    if (access === undefined || access.client !== client) return {};
    const ttlS = access.expiresAt + 2 * MAX_SKEW_S - Date.now() / 1000;
    await feed.revoke([{ $case: "token", value: access.id }], ttlS);
    await audit.write({
      action: "token.revoke",
      actor: access.subject,
      client,
      target: `tokens/${access.id}`,
      address: context.origin.address,
    });
    return {};
  };

/** @throws StatusError KEYS_UNAVAILABLE: the token may be valid, and would stay so */
async function verified(
  { tokens }: TokenDependencies,
  jwt: string,
): Promise<AccessToken | undefined> {
  try {
    return await tokens.verify(jwt);
  } catch (error) {
    if (error instanceof StatusError && error.reason === "CREDENTIAL_INVALID") return undefined;
    throw error;
  }
}
