import { type CryptoKey, importJWK, type JWK } from "jose";

/** The algorithms that access tokens are signed with (RFC 8725 section 3.1). */
export const SIGNING_ALGORITHMS = ["EdDSA", "ES256"] as const;
export type SigningAlgorithm = (typeof SIGNING_ALGORITHMS)[number];

/** A public key, with the one algorithm that it is for. */
export interface VerificationKey {
  readonly id: string;
  readonly algorithm: string;
  readonly key: CryptoKey;
}

/** Where the keys that an issuer signs with come from. */
export interface VerificationKeys {
  /** The key of exactly this id, where it is known now. */
  find(kid: string): VerificationKey | undefined;
  /**
   * Asks for the keys anew, because a token names one that `find` lacks. Calls made meanwhile share
   * the request, and there is at most one a second: what comes sooner settles as the last one did.
   * Rejects when nobody answers.
   */
  refresh(): Promise<void>;
}

const MAX_KEYS = 100;

/**
 * Imports a JWK set (RFC 7517 section 5). Keys without `kid`, with a use other than signatures, or of
 * an algorithm that is not allowed are left out, as the RFC asks of keys not understood.
 *
 * @throws Error when it is no set, has more than 100 keys, or names one `kid` twice
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
    // Only what is public: a private key that was published by mistake is used as what it should be.
    const { kty, crv, x, y, n, e } = jwk;
    const key = await importJWK(defined({ kty, crv, x, y, n, e }), algorithm);
    imported.set(jwk.kid, { id: jwk.kid, algorithm, key: key as CryptoKey });
  }
  return imported;
}

function defined(jwk: Record<string, string | undefined>): JWK {
  return Object.fromEntries(Object.entries(jwk).filter(([, value]) => value !== undefined)) as JWK;
}

/** One key has one algorithm: the one it names, or, where it names none, its type's only one. */
function algorithmOf({ alg, kty, crv }: JWK): string | undefined {
  const fits = (algorithm: string) =>
    algorithm === "EdDSA"
      ? kty === "OKP" && crv === "Ed25519"
      : algorithm === "ES256"
        ? kty === "EC" && crv === "P-256"
        : kty === "RSA";
  if (alg !== undefined) {
    // RFC 9864 names the curve where the older name did not.
    const name = alg === "Ed25519" ? "EdDSA" : alg;
    return fits(name) ? name : undefined;
  }
  if (kty === "RSA") return "RS256";
  return SIGNING_ALGORITHMS.find(fits);
}
