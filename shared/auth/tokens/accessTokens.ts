import { jwtVerify } from "jose";
import { LRUCache } from "lru-cache";
import { Errors, StatusError } from "../../errors.ts";
import { type AccessToken, readClaims } from "./claims.ts";
import { readHeader } from "./header.ts";
import {
  SIGNING_ALGORITHMS,
  type VerificationKey,
  type VerificationKeys,
} from "./verificationKeys.ts";

/** Longest token that is parsed, in characters. */
export const MAX_TOKEN_LENGTH = 8192;
/** Tolerated clock skew, in seconds. */
export const MAX_SKEW_S = 60;
/** Most tokens whose verification is cached. */
const MAX_VERIFIED = 10_000;

/**
 * Verifies the access tokens of one issuer (RFC 9068 section 4), without a request to it.
 *
 * Caches the result of verifying a signature, for the most recently used tokens. It checks on every
 * call that the key is still published and that the token has not expired.
 */
export class AccessTokens {
  readonly issuer: string;
  readonly #keys: VerificationKeys;
  readonly #now: () => number;
  readonly #verified = new LRUCache<string, { token: AccessToken; key: VerificationKey }>({
    max: MAX_VERIFIED,
  });

  /**
   * @param issuer the `iss` that tokens must have
   * @param now milliseconds since the Unix epoch
   * @throws Error when the issuer is missing
   */
  constructor(issuer: string, keys: VerificationKeys, now: () => number = Date.now) {
    // Without one, jose would accept the tokens of any issuer.
    if (typeof issuer !== "string" || issuer === "") {
      throw new Error("AccessTokens: issuer must be the iss of the tokens");
    }
    this.issuer = issuer;
    this.#keys = keys;
    this.#now = now;
  }

  /**
   * Verifies type, algorithm, signature, issuer, claims and expiry. Audience, revocation and proof of possession
   * are checked in authentication.ts.
   *
   * @throws StatusError CREDENTIAL_INVALID for any failed check; KEYS_UNAVAILABLE when its key is unknown and
   *   the issuer is unavailable; or rejects with them
   */
  verify(jwt: string): AccessToken | Promise<AccessToken> {
    const known = this.#verified.get(jwt);
    if (known !== undefined) {
      if (this.#keys.find(known.key.id) === known.key) return this.#alive(known.token);
      this.#verified.delete(jwt);
    }
    return this.#verifyFirst(jwt);
  }

  async #verifyFirst(jwt: string): Promise<AccessToken> {
    try {
      if (jwt.length > MAX_TOKEN_LENGTH) throw new Error("the token is too long");
      const key = await this.#find(readHeader(jwt, ["at+jwt"]).kid);
      const { payload } = await jwtVerify(jwt, key.key, {
        algorithms: SIGNING_ALGORITHMS.filter((algorithm) => algorithm === key.algorithm),
        typ: "at+jwt",
        issuer: this.issuer,
        clockTolerance: MAX_SKEW_S,
        currentDate: new Date(this.#now()),
        requiredClaims: ["iss", "sub", "aud", "exp", "iat", "jti", "client_id", "epoch"],
      });
      const token = readClaims(payload);
      this.#alive(token);
      this.#verified.set(jwt, { token, key });
      return token;
    } catch (cause) {
      if (cause instanceof StatusError) throw cause;
      throw Errors.CREDENTIAL_INVALID({ cause });
    }
  }

  async #find(kid: string): Promise<VerificationKey> {
    const known = this.#keys.find(kid);
    if (known !== undefined) return known;
    await this.#keys.refresh().catch((cause: unknown) => {
      throw Errors.KEYS_UNAVAILABLE({ cause });
    });
    const fetched = this.#keys.find(kid);
    if (fetched === undefined) throw new Error("its key is not in the issuer's JWKS");
    return fetched;
  }

  #alive(token: AccessToken): AccessToken {
    const nowS = this.#now() / 1000;
    if (token.expiresAt + MAX_SKEW_S <= nowS) {
      throw Errors.CREDENTIAL_INVALID({ cause: "the token has expired" });
    }
    if (token.issuedAt - MAX_SKEW_S > nowS) {
      throw Errors.CREDENTIAL_INVALID({ cause: "the token's iat is in the future" });
    }
    return token;
  }
}
