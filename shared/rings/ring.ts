import { types } from "node:util";
import { Errors } from "../errors.ts";
import { decodeBase64url } from "../runtime/base64url.ts";

/** The grammar of an audience, in contracts, rings and tokens. */
export const AUDIENCE = /^[a-z][a-z0-9-]{0,62}$/;

/** Size of a ring key, and of a key that wraps ring keys, in bytes. */
export const KEY_BYTES = 32;

const STATES = ["pending", "active", "retired", "destroyed"] as const;

const ID = /^[A-Za-z0-9_-]{11}$/;

/** The keys of one audience. */
export interface Ring {
  readonly audience: string;
  /** Grows by one with each change. */
  readonly version: number;
  readonly keys: readonly RingKey[];
}

/** One key of a ring. The active key seals; every key that is not destroyed opens. */
export interface RingKey {
  /** 11 characters of base64url. */
  readonly id: string;
  readonly state: (typeof STATES)[number];
  /** 32 random bytes; empty for a destroyed key. */
  readonly key: Uint8Array;
}

/** The key to seal with. */
export interface Sealing {
  readonly key: RingKey;
  /** The newest state revision of the audience that every replica reads. */
  readonly revision: number;
}

/** The source of an audience's ring. */
export interface RingSource {
  /**
   * Returns the newest ring received. Undefined before the first, and while the ring may be stale. A changed ring
   * must be another object, or have another version.
   */
  current(): Ring | undefined;
  /**
   * Returns the key to seal with now. Undefined: this program holds no lease on the ring, or no key is active.
   * Call it for each seal.
   */
  sealing(): Sealing | undefined;
  /**
   * Fetches the ring again, because a token names a key that `current()` lacks. Concurrent calls share one
   * request, and there is at most one a second.
   *
   * @throws StatusError KEYS_UNAVAILABLE when the source is unavailable
   */
  refresh(): Promise<Ring>;
}

/**
 * Makes a source of a ring that never changes: for tests, and for programs that store their own keys. Without an
 * active key it opens tokens and seals none.
 *
 * @param ring is copied: later changes of it or of its keys' bytes have no effect
 * @throws Error naming the key, by its id or its index, and the rule that it breaks
 */
export function fixedRing(ring: Ring): RingSource {
  const checked = checkRing(ring);
  const key = checked.keys.find(({ state }) => state === "active");
  const sealing = key && { key, revision: Number.POSITIVE_INFINITY };
  return { current: () => checked, sealing: () => sealing, refresh: async () => checked };
}

/**
 * Checks a ring from outside this module: an attacker could forge waybills under an empty or guessable key. Errors
 * never contain a key's bytes.
 *
 * @param audience the audience that the ring must have. Default: any
 * @returns a frozen copy, whose keys share no memory with the original
 * @throws Error naming the key, by its id or its index, and the rule that it breaks
 */
export function checkRing(ring: Ring, audience?: string): Ring {
  if (!isObject(ring)) throw new Error("a ring must be an object with audience, version and keys");
  const { audience: own, version, keys } = ring;
  if (typeof own !== "string" || !AUDIENCE.test(own)) {
    throw new Error(`a ring's audience must be a string that matches ${AUDIENCE}`);
  }
  const wrong = (rule: string) => new Error(`the ring of ${own}: ${rule}`);
  if (audience !== undefined && own !== audience) {
    throw wrong(`its audience must be ${audience}`);
  }
  if (!Number.isSafeInteger(version) || version < 0) {
    throw wrong("its version must be a whole number that is not negative");
  }
  if (!Array.isArray(keys) || keys.length === 0) {
    throw wrong("its keys must be an array with at least one key");
  }
  const checked = Array.from(keys as readonly RingKey[], (key, index) =>
    checkRingKey(key, `the ring of ${own}: the key at index ${index}`),
  );
  for (const [index, { id, state, key }] of checked.entries()) {
    for (const earlier of checked.slice(0, index)) {
      if (earlier.id === id) throw wrong(`two keys have the id ${id}; ids must be unique`);
      if (state === "active" && earlier.state === "active") {
        throw wrong(`the keys ${earlier.id} and ${id} are both active; only one may be`);
      }
      // Destroying one of them would leave its bytes valid under the other id.
      if (state !== "destroyed" && Buffer.compare(earlier.key, key) === 0) {
        throw wrong(`the keys ${earlier.id} and ${id} have the same bytes; each needs its own`);
      }
    }
  }
  return Object.freeze({ audience: own, version, keys: Object.freeze(checked) });
}

/** @param place names the key in errors until its id is valid */
function checkRingKey(ringKey: RingKey, place: string): RingKey {
  if (!isObject(ringKey)) throw new Error(`${place} must be an object with id, state and key`);
  const { id, state, key } = ringKey;
  // A wrong id is not quoted: it could be the key's bytes.
  if (typeof id !== "string" || !ID.test(id) || decodeBase64url(id) === undefined) {
    throw new Error(`${place} must have an id of 8 bytes in base64url (11 characters, canonical)`);
  }
  const name = `the ring key ${id}`;
  if (!STATES.includes(state)) {
    throw new Error(`${name} must have one of the states ${STATES.join(", ")}`);
  }
  if (state !== "destroyed") {
    return Object.freeze({ id, state, key: copyOfKey(key, name) });
  }
  if (!types.isUint8Array(key) || key.length !== 0) {
    throw new Error(`${name} is destroyed: its bytes must be an empty Buffer or Uint8Array`);
  }
  return Object.freeze({ id, state, key: Buffer.alloc(0) });
}

/**
 * Checks the bytes of a secret key.
 *
 * @param name of the key, for errors
 * @returns a copy
 * @throws Error naming the key and the rule, never its bytes
 */
export function copyOfKey(key: Uint8Array, name: string): Buffer {
  if (!types.isUint8Array(key)) {
    throw new Error(`${name} must be a Buffer or Uint8Array of ${KEY_BYTES} bytes`);
  }
  const copy = Buffer.from(key);
  if (copy.length !== KEY_BYTES) {
    throw new Error(`${name} must be ${KEY_BYTES} bytes long, not ${copy.length}`);
  }
  if (copy.every((byte) => byte === 0)) {
    throw new Error(`${name} must be random bytes, not ${KEY_BYTES} zeros`);
  }
  return copy;
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null;
}

/**
 * Wraps a RingSource, which a program may have written itself. Each ring and each key to seal with is checked
 * and copied once, when it becomes current.
 */
export class CheckedRingSource implements RingSource {
  readonly #source: RingSource;
  #given: Ring | undefined;
  #ring: Ring | undefined;
  #givenKey: RingKey | undefined;
  #sealing: Sealing | undefined;

  private constructor(source: RingSource) {
    this.#source = source;
  }

  /** @throws Error naming the rule that the source or its current ring breaks */
  static of(source: RingSource): CheckedRingSource {
    if (source instanceof CheckedRingSource) return source;
    for (const method of ["current", "sealing", "refresh"] as const) {
      if (typeof source?.[method] !== "function") {
        throw new Error(`a RingSource must have the method ${method}: see fixedRing, RingWatcher`);
      }
    }
    const checked = new CheckedRingSource(source);
    const ring = source.current();
    if (ring !== undefined) checked.#checkRing(ring);
    const sealing = source.sealing();
    if (sealing !== undefined) checked.#checkSealing(sealing);
    return checked;
  }

  /** @throws StatusError KEYS_UNAVAILABLE when the source's ring breaks a rule */
  current(): Ring | undefined {
    const ring = this.#source.current();
    return ring && refusing(() => this.#checkRing(ring));
  }

  /** @throws StatusError KEYS_UNAVAILABLE when the source's key breaks a rule */
  sealing(): Sealing | undefined {
    const sealing = this.#source.sealing();
    return sealing && refusing(() => this.#checkSealing(sealing));
  }

  async refresh(): Promise<Ring> {
    const ring = await this.#source.refresh();
    return refusing(() => this.#checkRing(ring));
  }

  #checkRing(ring: Ring): Ring {
    if (this.#ring === undefined || ring !== this.#given || ring.version !== this.#ring.version) {
      this.#ring = checkRing(ring);
      this.#given = ring;
    }
    return this.#ring;
  }

  #checkSealing(sealing: Sealing): Sealing {
    const { key, revision } = sealing;
    const before = this.#sealing;
    if (before !== undefined && key === this.#givenKey && revision === before.revision) {
      return before;
    }
    if (typeof revision !== "number" || !(revision >= 0)) {
      throw new Error("the revision to seal in must be a number that is not negative");
    }
    const checked = checkRingKey(key, "the key to seal with");
    if (checked.state !== "active") {
      throw new Error(`the ring key ${checked.id} must be active to seal, not ${checked.state}`);
    }
    this.#sealing = { key: checked, revision };
    this.#givenKey = key;
    return this.#sealing;
  }
}

/** Refuses a call with KEYS_UNAVAILABLE while the ring is invalid: the source may have a valid one soon. */
function refusing<Result>(check: () => Result): Result {
  try {
    return check();
  } catch (cause) {
    throw Errors.KEYS_UNAVAILABLE({ cause, alarm: true, retryAfterMs: 1000 });
  }
}
