import { type Context, StatusError } from "waybill";
import { Introspection, type IntrospectRequest } from "#proto/waybill/token/v1/token.ts";
import type { TokenDependencies } from "../index.ts";
import { readRefreshToken } from "../signIns/refreshTokens.ts";
import { readFamily } from "../signIns/sql/readFamily.ts";
import { toText } from "./binding.ts";

/** Describes one token (RFC 7662). */
export const introspect =
  (dependencies: TokenDependencies) =>
  ({ token }: IntrospectRequest, context: Context): Promise<Introspection> =>
    explain(dependencies, token, context);

/** Describes an active token. Returns only `active: false` for any other (RFC 7662 section 2.2). */
export async function explain(
  dependencies: TokenDependencies,
  token: string,
  { token: caller }: Context,
): Promise<Introspection> {
  const inactive = Introspection.create();
  // A client may introspect only its own refresh tokens.
  const position = await readRefreshToken(token, (id) => dependencies.keys.refreshKey(id));
  if (position !== undefined) {
    const family = await readFamily(dependencies.db, position.family);
    if (family?.generation !== position.generation || family.client !== caller.client) {
      return inactive;
    }
    const { subject, epoch, id } = family;
    if (dependencies.feed.revocations.has({ subject, epoch, family: id })) return inactive;
    return {
      active: true,
      tokenUse: "refresh_token",
      subject,
      client: family.client,
      scopes: family.scopes,
      audiences: family.audiences,
      issueTime: family.redeemedAt,
      expireTime: family.endsAt,
      tokenId: "",
      issuer: dependencies.issuer,
      actors: [],
      confirmation: family.confirmation,
    };
  }
  try {
    const access = await dependencies.tokens.verify(token);
    dependencies.authentication.assertNotRevoked(access);
    if (Date.now() >= access.expiresAt * 1000) return inactive;
    return {
      active: true,
      tokenUse: "access_token",
      subject: access.subject,
      client: access.client,
      scopes: [...access.scopes],
      audiences: [...access.audiences],
      issueTime: new Date(access.issuedAt * 1000),
      expireTime: new Date(access.expiresAt * 1000),
      tokenId: access.id,
      issuer: access.issuer,
      actors: [...access.actors],
      confirmation: toText(access.confirmation),
    };
  } catch (error) {
    if (error instanceof StatusError && error.reason === "CREDENTIAL_INVALID") return inactive;
    throw error;
  }
}
