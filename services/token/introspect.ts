import {
  type BatchIntrospectRequest,
  type BatchIntrospectResponse,
  Introspection,
  type IntrospectRequest,
} from "#proto/waybill/token/v1/token.ts";
import type { Context } from "#shared/contract/handlers.ts";
import { StatusError } from "#shared/errors.ts";
import { toText } from "./binding.ts";
import type { TokenParts } from "./parts.ts";
import { readRefreshToken } from "./refreshTokens.ts";
import { readFamily } from "./sql/readFamily.ts";

export const introspect =
  (parts: TokenParts) =>
  ({ token }: IntrospectRequest, context: Context): Promise<Introspection> =>
    explain(parts, token, context);

export const batchIntrospect =
  (parts: TokenParts) =>
  async (
    { tokens }: BatchIntrospectRequest,
    context: Context,
  ): Promise<BatchIntrospectResponse> => ({
    introspections: await Promise.all(tokens.map((token) => explain(parts, token, context))),
  });

export const streamIntrospect = (parts: TokenParts) =>
  async function* (
    requests: AsyncIterable<IntrospectRequest>,
    context: Context,
  ): AsyncGenerator<Introspection> {
    for await (const { token } of requests) {
      // Who asks may have been revoked since he began.
      parts.authentication.assertNotRevoked(context.token);
      yield explain(parts, token, context);
    }
  };

/** Of what is not in force, whatever the reason, only that (RFC 7662 section 2.2). */
async function explain(
  parts: TokenParts,
  token: string,
  { token: caller }: Context,
): Promise<Introspection> {
  const inactive = Introspection.create();
  // A client learns of its own refresh tokens, and nobody of another's.
  const position = await readRefreshToken(token, (id) => parts.keys.refreshKey(id));
  if (position !== undefined) {
    const family = await readFamily(parts.db, position.family);
    if (family?.generation !== position.generation || family.client !== caller.client) {
      return inactive;
    }
    const { subject, epoch, id } = family;
    if (parts.feed.revocations.has({ subject, epoch, family: id })) return inactive;
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
      issuer: parts.issuer,
      actors: [],
      confirmation: family.confirmation,
    };
  }
  try {
    const access = await parts.tokens.verify(token);
    parts.authentication.assertNotRevoked(access);
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
