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
 * Makes an assertion that authenticates a service to one method: a JWT (RFC 7523 section 3), signed with the
 * service's key and valid for a minute. It contains the one-time key that the response is encrypted to (`cnf.jwk`,
 * RFC 7800): an eavesdropper cannot replace that key by its own.
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

/** Makes a function that verifies assertions. It rejects with StatusError CREDENTIAL_INVALID for any failed check. */
export function serviceAuthentication(credentials: Credentials): Authenticate {
  return async (authorization, method) => {
    const [, token] = /^Bearer ([\w-]+\.[\w-]+\.[\w-]+)$/.exec(authorization ?? "") ?? [];
    if (token === undefined || token.length > 4096 || !isCanonicalCompact(token)) {
      throw Errors.CREDENTIAL_INVALID({
        cause: "authorization is not a bearer token in canonical base64url",
      });
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
      // A key is valid for its own issuer only (RFC 8725 section 3.8).
      if (payload.iss !== kid || payload.sub !== kid)
        throw new Error("iss or sub is not the service of the key");
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
