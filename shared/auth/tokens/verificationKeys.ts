import { type CryptoKey, importJWK, type JWK } from "jose";

/** The algorithms that access tokens are signed with (RFC 8725 section 3.1). */
export const SIGNING_ALGORITHMS = ["EdDSA", "ES256"] as const;
export type SigningAlgorithm = (typeof SIGNING_ALGORITHMS)[number];

/** A public key, and its only algorithm. */
export interface VerificationKey {
  readonly id: string;
  readonly algorithm: string;
  readonly key: CryptoKey;
}

/** The public keys of an issuer. */
export interface VerificationKeys {
  /** Returns the key of this id; undefined when it is unknown. */
  find(kid: string): VerificationKey | undefined;
  /**
   * Fetches the keys again, because a token names an unknown one. Concurrent calls share one request, and there is
   * at most one a second: an earlier call settles as the last request did. Rejects when the issuer is unavailable.
   */
  refresh(): Promise<void>;
}

const MAX_KEYS = 100;

/**
 * Imports a JWK set (RFC 7517 section 5). Ignores keys without `kid`, with another use than signatures, or of an
 * algorithm that is not allowed, as the RFC asks.
 *
 * @throws Error when it is not a JWK set, has more than 100 keys, or has one `kid` twice
 */
export async function importKeys(
  jwks: unknown,
  algorithms: readonly string[],
): Promise<Map<string, VerificationKey>> {
  const keys = (jwks as { keys?: unknown } | null)?.keys;
  if (!Array.isArray(keys) || keys.length > MAX_KEYS) throw new Error("not a JWK set");
  const imported = new Map<string, VerificationKey>();
  for (const jwk of keys as (JWK | null)[]) {
    const algorithm = jwk && algorithmOf(jwk);
    if (!jwk || !algorithm || !algorithms.includes(algorithm)) continue;
    if (typeof jwk.kid !== "string" || jwk.kid === "" || jwk.kid.length > 128) continue;
    if (jwk.use !== undefined && jwk.use !== "sig") continue;
    if (imported.has(jwk.kid)) throw new Error(`two keys have the kid ${jwk.kid}`);
    // Public members only: a private key that was published by mistake is imported as a public one.
    const { kty, crv, x, y, n, e } = jwk;
    const key = await importJWK(defined({ kty, crv, x, y, n, e }), algorithm);
    imported.set(jwk.kid, { id: jwk.kid, algorithm, key: key as CryptoKey });
  }
  return imported;
}

function defined(jwk: Record<string, string | undefined>): JWK {
  return Object.fromEntries(Object.entries(jwk).filter(([, value]) => value !== undefined)) as JWK;
}

/** Returns a key's only algorithm: its `alg`, or else that of its type. */
function algorithmOf({ alg, kty, crv }: JWK): string | undefined {
  const fits = (algorithm: string) =>
    algorithm === "EdDSA"
      ? kty === "OKP" && crv === "Ed25519"
      : algorithm === "ES256"
        ? kty === "EC" && crv === "P-256"
        : kty === "RSA";
  if (alg !== undefined) {
    // RFC 9864 replaces EdDSA by the name of the curve.
    const name = alg === "Ed25519" ? "EdDSA" : alg;
    return fits(name) ? name : undefined;
  }
  if (kty === "RSA") return "RS256";
  return SIGNING_ALGORITHMS.find(fits);
}
