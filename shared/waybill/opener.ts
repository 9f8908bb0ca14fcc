import { LRUCache } from "lru-cache";
import { Errors } from "../errors.ts";
import { CheckedRingSource, type Ring, type RingSource } from "../rings/ring.ts";
import { decrypt, type HeaderKey, headerKey, parseHeader, type Sealed } from "./jwe.ts";
import { deriveSubkey, type TokenType } from "./subkey.ts";

const MAX_CACHED_SUBKEYS = 4096;

/** Opens the tokens of one type and audience. */
export class Opener {
  readonly #type: TokenType;
  readonly #audience: string;
  readonly #ring: RingSource;
  // By protected header. Holds only keys under which a tag was verified: an attacker can invent
  // salts, but not tags, and so evicts nothing.
  readonly #subkeys = new LRUCache<string, HeaderKey>({ max: MAX_CACHED_SUBKEYS });
  #cachedOf: Ring | undefined;

  constructor(type: TokenType, audience: string, ring: RingSource) {
    this.#type = type;
    this.#audience = audience;
    this.#ring = CheckedRingSource.of(ring);
  }

  /** How many derived keys are held. */
  get cached(): number {
    return this.#subkeys.size;
  }

  /**
   * Opens a token. Returns at once if its key is at hand; otherwise, or if the known ring may be out of
   * date, after fetching the ring.
   *
   * @returns the plaintext, or undefined: the token is not one of this type and audience
   * @throws StatusError KEYS_UNAVAILABLE when the token's key is not at hand and the ring cannot be fetched;
   *   WAYBILL_REVOKED for a waybill whose key was destroyed
   */
  open(sealed: Sealed): Buffer | undefined | Promise<Buffer | undefined> {
    const ring = this.#ring.current();
    // A key that has left its ring opens nothing any more.
    if (ring !== this.#cachedOf) {
      this.#subkeys.clear();
      this.#cachedOf = ring;
    }
    const cached = this.#subkeys.get(sealed.header);
    if (cached !== undefined) return decrypt(cached, sealed);

    const named = parseHeader(sealed.header, this.#type);
    if (named === undefined) return undefined;
    const plaintext = this.#openUnder(ring, named, sealed);
    if (plaintext !== "unknown key") return plaintext;
    return this.#ring.refresh().then((fetched) => {
      const late = this.#openUnder(fetched, named, sealed);
      return late === "unknown key" ? undefined : late;
    });
  }

  #openUnder(
    ring: Ring | undefined,
    named: { ringKeyId: string; salt: Buffer },
    sealed: Sealed,
  ): Buffer | undefined | "unknown key" {
    const ringKey = ring?.keys.find((key) => key.id === named.ringKeyId);
    if (ringKey === undefined) return "unknown key";
    if (ringKey.state === "destroyed") {
      if (this.#type !== "waybill") return undefined;
      throw Errors.WAYBILL_REVOKED({ cause: `key ${ringKey.id} was destroyed` });
    }
    const key = deriveSubkey(ringKey.key, named.salt, this.#type, this.#audience);
    const subkey = headerKey(key, sealed.header);
    const plaintext = decrypt(subkey, sealed);
    if (plaintext !== undefined && ring === this.#cachedOf)
      this.#subkeys.set(subkey.header, subkey);
    return plaintext;
  }
}
