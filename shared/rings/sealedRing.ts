import {
  CompactEncrypt,
  calculateJwkThumbprint,
  compactDecrypt,
  exportJWK,
  generateKeyPair,
  importJWK,
  type JWK,
  jwtVerify,
  SignJWT,
} from "jose";
import {
  RingKey_State,
  Ring as RingMessage,
  type SealedRing,
} from "../../proto/gen/waybill/keys/v1/keys.ts";
import type { Credentials } from "../auth/credentials/credentials.ts";
import { Errors } from "../errors.ts";
import { isCanonicalCompact } from "../runtime/base64url.ts";
import type { Ring, RingKey } from "./ring.ts";

const TYPE = "waybill-ring+jwt";
const AUTHORITY = "keys";

const STATES = new Map<RingKey_State, RingKey["state"]>([
  [RingKey_State.STATE_PENDING, "pending"],
  [RingKey_State.STATE_ACTIVE, "active"],
  [RingKey_State.STATE_RETIRED, "retired"],
  [RingKey_State.STATE_DESTROYED, "destroyed"],
]);

/** An X25519 key pair for one request (RFC 8037). */
export interface OneTimeKey {
  readonly publicJwk: JWK;
  readonly privateKey: CryptoKey;
}

export async function makeOneTimeKey(): Promise<OneTimeKey> {
  const { publicKey, privateKey } = await generateKeyPair("ECDH-ES", {
    crv: "X25519",
    extractable: false,
  });
  return { publicJwk: await exportJWK(publicKey), privateKey };
}

/**
 * Seals a ring for one service: signed by the key service (JWS) for this receiver and one-time key, then encrypted to
 * that key (JWE, ECDH-ES). A proxy that terminates TLS cannot read it.
 */
export async function sealRing(
  ring: RingMessage,
  service: string,
  oneTimeKey: JWK,
  credentials: Credentials,
): Promise<SealedRing> {
  if (oneTimeKey.kty !== "OKP" || oneTimeKey.crv !== "X25519" || oneTimeKey.d !== undefined) {
    throw Errors.CREDENTIAL_INVALID({
      cause: "cnf.jwk is not an X25519 public key",
    });
  }
  const jws = await new SignJWT({
    ring: Buffer.from(RingMessage.encode(ring).finish()).toString("base64url"),
    jkt: await calculateJwkThumbprint(oneTimeKey),
  })
    .setProtectedHeader({ alg: "EdDSA", typ: TYPE, kid: AUTHORITY })
    .setIssuer(AUTHORITY)
    .setAudience(service)
    .setIssuedAt()
    .sign(await credentials.own(AUTHORITY));
  const jwe = await new CompactEncrypt(Buffer.from(jws))
    .setProtectedHeader({ alg: "ECDH-ES", enc: "A256GCM", cty: "JWT" })
    .encrypt(await importJWK(oneTimeKey, "ECDH-ES"));
  return { jwe };
}

/**
 * Opens a sealed ring. Rejects with an Error when it is not from the key service, or not for this service and
 * one-time key.
 */
export async function openRing(
  sealed: SealedRing,
  service: string,
  oneTimeKey: OneTimeKey,
  credentials: Credentials,
): Promise<Ring> {
  if (!isCanonicalCompact(sealed.jwe)) throw new Error("the ring is not canonical base64url");
  const { plaintext } = await compactDecrypt(sealed.jwe, oneTimeKey.privateKey, {
    keyManagementAlgorithms: ["ECDH-ES"],
    contentEncryptionAlgorithms: ["A256GCM"],
  });
  const authority = await credentials.peer(AUTHORITY);
  if (authority === undefined) throw new Error("services.jwks.json has no key of `keys`");
  const { payload } = await jwtVerify(plaintext, authority.key, {
    algorithms: ["EdDSA"],
    typ: TYPE,
    issuer: AUTHORITY,
    audience: service,
    requiredClaims: ["ring", "jkt"],
  });
  if (payload["jkt"] !== (await calculateJwkThumbprint(oneTimeKey.publicJwk))) {
    throw new Error("the ring was sealed for another request");
  }
  return fromMessage(RingMessage.decode(Buffer.from(payload["ring"] as string, "base64url")));
}

function fromMessage({ audience, version, keys }: RingMessage): Ring {
  return {
    audience,
    version,
    keys: keys.map(({ id, state, key }) => {
      const known = STATES.get(state);
      if (known === undefined)
        throw new Error(`key ${id} has an unknown state ${state}: upgrade this program`);
      return { id, state: known, key };
    }),
  };
}
