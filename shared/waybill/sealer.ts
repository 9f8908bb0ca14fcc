import { Errors, type StatusError } from "../errors.ts";
import { CheckedRingSource, type RingSource } from "../rings/ring.ts";
import { type Clocks, systemClocks } from "../runtime/clocks.ts";
import { Entropy } from "../runtime/entropy.ts";
import { encodeHeader, encrypt, type HeaderKey, headerKey, IV_BYTES, type Sealed } from "./jwe.ts";
import { deriveSubkey, SALT_BYTES, subkeyId, type TokenType } from "./subkey.ts";

const SUBKEY_LIFE_MS = 60 * 60 * 1000;

/**
 * Most uses of one sub-key: half of the limit for random nonces in NIST SP 800-38D section 8.3.
 */
export const MAX_SEALS_PER_SUBKEY = 2 ** 31;

interface Subkey extends HeaderKey {
  readonly ringKeyId: string;
  readonly expiresAt: number;
  seals: number;
}

/** Options of a sealer, for tests. */
export interface SealerOptions {
  clocks?: Clocks;
  maxSeals?: number;
}

/** The error of a program that may not seal: `sealing()` of its ring is undefined. */
export function noLease(audience: string): StatusError {
  return Errors.KEYS_UNAVAILABLE({
    retryAfterMs: 1000,
    cause: `no lease on the ring of ${audience}, or no active key in it`,
  });
}

/** Seals the tokens of one type and audience, under a sub-key that only this object has. */
export class Sealer {
  readonly #type: TokenType;
  readonly #audience: string;
  readonly #ring: RingSource;
  readonly #clocks: Clocks;
  readonly #maxSeals: number;
  readonly #entropy: Entropy;
  #subkey: Subkey | undefined;

  constructor(
    type: TokenType,
    audience: string,
    ring: RingSource,
    { clocks = systemClocks, maxSeals = MAX_SEALS_PER_SUBKEY }: SealerOptions = {},
  ) {
    this.#type = type;
    this.#audience = audience;
    this.#ring = CheckedRingSource.of(ring);
    this.#clocks = clocks;
    this.#maxSeals = maxSeals;
    this.#entropy = new Entropy(() => {
      this.#subkey = undefined;
    }, clocks);
  }

  /** @throws StatusError KEYS_UNAVAILABLE while the ring's lease has run out, or no key is active */
  seal(plaintext: Uint8Array): Sealed {
    this.#entropy.check();
    const subkey = this.#current();
    subkey.seals += 1;
    return encrypt(subkey, this.#entropy.take(IV_BYTES), plaintext);
  }

  #current(): Subkey {
    const active = this.#ring.sealing()?.key;
    if (active === undefined) throw noLease(this.#audience);
    const now = this.#clocks.monotonic();
    const subkey = this.#subkey;
    if (
      subkey !== undefined &&
      subkey.ringKeyId === active.id &&
      subkey.seals < this.#maxSeals &&
      now < subkey.expiresAt
    ) {
      return subkey;
    }
    const salt = this.#entropy.take(SALT_BYTES);
    const key = deriveSubkey(active.key, salt, this.#type, this.#audience);
    this.#subkey = {
      ...headerKey(key, encodeHeader(this.#type, subkeyId(active.id, salt))),
      ringKeyId: active.id,
      expiresAt: now + SUBKEY_LIFE_MS,
      seals: 0,
    };
    return this.#subkey;
  }
}
