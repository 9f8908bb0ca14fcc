import { createHash, type KeyObject, randomUUID, sign } from "node:crypto";
import {
  type CryptoKey,
  calculateJwkThumbprint,
  EmbeddedJWK,
  type JWK,
  jwtVerify,
  SignJWT,
} from "jose";
import { LRUCache } from "lru-cache";
import { decodeBase64url, isCanonicalCompact } from "../../runtime/base64url.ts";

/** Largest age of a proof, and largest lead of its clock, in seconds. */
export const PROOF_LIFE_S = 60;
const MAX_PROOF_LENGTH = 2048;
/** Most proofs whose verification is cached. */
const MAX_VERIFIED = 10_000;

/** A verified proof (RFC 9449 section 4.3). */
export interface Proof {
  /** Thumbprint of its key (RFC 7638). */
  readonly thumbprint: string;
  readonly id: string;
  /** Seconds since the Unix epoch. */
  readonly issuedAt: number;
}

interface ReadProof extends Proof {
  readonly url: string;
  /** Hash of the token that it was made for (`ath`). */
  readonly tokenDigest: string | undefined;
}

/**
 * Verifies DPoP proofs (RFC 9449). The signature of a proof is verified once; its age, address and token are
 * compared each time. An evicted proof is verified again.
 */
export class Proofs {
  readonly #now: () => number;
  readonly #verified = new LRUCache<string, ReadProof>({ max: MAX_VERIFIED });

  /** @param now milliseconds since the Unix epoch */
  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /**
   * Rejects with an Error that names the failed check.
   *
   * @param urls the public addresses of the method: `htu` must be one of them
   * @param token the access token that comes with it, if any: `ath` must be its hash
   */
  async verify(jwt: string, urls: readonly string[], token: string | undefined): Promise<Proof> {
    let proof = this.#verified.get(jwt);
    if (proof === undefined) {
      proof = await readProof(jwt);
      this.#verified.set(jwt, proof);
    }
    if (Math.abs(this.#now() / 1000 - proof.issuedAt) > PROOF_LIFE_S) {
      throw new Error("the proof's iat is not within a minute of now");
    }
    if (!urls.includes(proof.url)) throw new Error("the proof's htu is not this method's address");
    const expected = token === undefined ? undefined : digest(token);
    if (expected !== undefined && proof.tokenDigest !== expected) {
      throw new Error("the proof's ath is not this token's");
    }
    return proof;
  }
}

async function readProof(jwt: string): Promise<ReadProof> {
  if (jwt.length > MAX_PROOF_LENGTH) throw new Error("the proof is too long");
  if (!isCanonicalCompact(jwt)) throw new Error("the proof is not canonical base64url");
  const { payload, protectedHeader } = await jwtVerify(jwt, EmbeddedJWK, {
    typ: "dpop+jwt",
    algorithms: ["EdDSA", "ES256"],
    requiredClaims: ["jti", "htm", "htu", "iat"],
  });
  const jwk = protectedHeader.jwk as JWK;
  // The thumbprint hashes the text of the key: one key in several texts would have several thumbprints.
  if (![jwk.x, jwk.y].every((part) => part === undefined || decodeBase64url(part) !== undefined)) {
    throw new Error("the proof's jwk is not canonical base64url");
  }
  const { jti, iat, htm, htu, ath } = payload as Record<string, unknown>;
  if (htm !== "POST") throw new Error("the proof's htm is not POST");
  if (typeof jti !== "string" || jti.length < 1 || jti.length > 128)
    throw new Error("the proof's jti is not a string of 1 to 128 characters");
  if (typeof htu !== "string" || !Number.isSafeInteger(iat))
    throw new Error("the proof's htu or iat is missing");
  return {
    thumbprint: await calculateJwkThumbprint(jwk),
    id: jti,
    issuedAt: iat as number,
    url: htu,
    tokenDigest: typeof ath === "string" ? ath : undefined,
  };
}

/**
 * Makes a proof.
 *
 * @param key a private key: Ed25519 or P-256
 * @param publicJwk its public half
 * @param url the method's full address: origin and path
 * @throws Error when the keys are not such a pair
 */
export function makeProof(key: KeyObject, publicJwk: JWK, url: string, token?: string): string {
  const isEd25519 = key.asymmetricKeyType === "ed25519";
  const curve = isEd25519 ? "Ed25519" : "P-256";
  const isCurve = isEd25519 || key.asymmetricKeyDetails?.namedCurve === "prime256v1";
  if (key.type !== "private" || !isCurve || publicJwk.crv !== curve) {
    throw new Error(
      "a proof's key must be a private Ed25519 or P-256 key, its JWK of the same curve",
    );
  }
  const { header, claims } = unsignedProof(isEd25519 ? "EdDSA" : "ES256", publicJwk, url, token);
  const signed = `${encode(header)}.${encode(claims)}`;
  const signature = isEd25519
    ? sign(null, Buffer.from(signed), key)
    : sign("sha256", Buffer.from(signed), { key, dsaEncoding: "ieee-p1363" });
  return `${signed}.${signature.toString("base64url")}`;
}

/** Makes a proof, as `makeProof` does, with an Ed25519 key that cannot be exported. */
export function signProof(
  key: CryptoKey,
  publicJwk: JWK,
  url: string,
  token?: string,
): Promise<string> {
  const { header, claims } = unsignedProof("EdDSA", publicJwk, url, token);
  return new SignJWT(claims).setProtectedHeader(header).sign(key);
}

function unsignedProof(
  alg: "EdDSA" | "ES256",
  { kty, crv, x, y }: JWK,
  url: string,
  token: string | undefined,
) {
  return {
    header: { typ: "dpop+jwt", alg, jwk: { kty, crv, x, ...(y ? { y } : {}) } as JWK },
    claims: {
      jti: randomUUID(),
      htm: "POST",
      htu: url,
      iat: Math.floor(Date.now() / 1000),
      ...(token === undefined ? {} : { ath: digest(token) }),
    },
  };
}

function digest(token: string): string {
  return createHash("sha256").update(token).digest("base64url");
}

function encode(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString("base64url");
}
