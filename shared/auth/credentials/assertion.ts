import { randomUUID } from "node:crypto";
import { type JWK, jwtVerify, SignJWT } from "jose";
import { Errors } from "../../errors.ts";
import { isCanonicalCompact } from "../../runtime/base64url.ts";
import type { Authenticate } from "../../server/access.ts";
import type { Credentials } from "./credentials.ts";

const TYPE = "waybill-service+jwt";
const LIFE_S = 60;
const MAX_SKEW_S = 60;

/**
 * Says "I am this service" to one method: a JWT (RFC 7523 section 3) signed with the service's own
 * key, good for a minute. It vouches for a one-time key that answers may be encrypted to (`cnf.jwk`,
 * RFC 7800), so whoever overhears it cannot have them encrypted to himself.
 *
 * @param audience the method's path
 * @returns the value of `authorization` metadata
 */
export async function assertService(
  credentials: Credentials,
  service: string,
  audience: string,
  oneTimeKey?: JWK,
): Promise<string> {
  const jwt = await new SignJWT(oneTimeKey ? { cnf: { jwk: oneTimeKey } } : {})
    .setProtectedHeader({ alg: "EdDSA", typ: TYPE, kid: service })
    .setIssuer(service)
    .setSubject(service)
    .setAudience(audience)
    .setIssuedAt()
    .setExpirationTime(`${LIFE_S}s`)
    .setJti(randomUUID())
    .sign(await credentials.own(service));
  return `Bearer ${jwt}`;
}

/** Checks such assertions. Rejects with StatusError CREDENTIAL_INVALID, for whatever reason. */
export function serviceAuthentication(credentials: Credentials): Authenticate {
  return async (authorization, method) => {
    const [, token] = /^Bearer ([\w-]+\.[\w-]+\.[\w-]+)$/.exec(authorization ?? "") ?? [];
    if (token === undefined || token.length > 4096 || !isCanonicalCompact(token)) {
      throw Errors.CREDENTIAL_INVALID({ cause: "no bearer token in canonical base64url" });
    }
    try {
      const { payload } = await jwtVerify(
        token,
        async ({ kid }) => {
          const peer = await credentials.peer(kid ?? "");
          if (peer === undefined) throw new Error("unknown service");
          return peer.key;
        },
        {
          algorithms: ["EdDSA"],
          typ: TYPE,
          audience: method,
          clockTolerance: MAX_SKEW_S,
          maxTokenAge: LIFE_S,
          requiredClaims: ["iss", "sub", "exp", "iat", "jti"],
        },
      );
      const { kid } = decodeHeader(token);
      // One key, one issuer (RFC 8725 section 3.8).
      if (payload.iss !== kid || payload.sub !== kid)
        throw new Error("iss or sub is not the key's");
      const { jwk } = (payload["cnf"] ?? {}) as {
        jwk?: Record<string, unknown>;
      };
      return { service: kid, ...(jwk ? { oneTimeKey: jwk } : {}) };
    } catch (cause) {
      throw Errors.CREDENTIAL_INVALID({ cause });
    }
  };
}

function decodeHeader(token: string): { kid: string } {
  return JSON.parse(Buffer.from(token.slice(0, token.indexOf(".")), "base64url").toString("utf8"));
}
