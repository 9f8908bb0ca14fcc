/** The keys of one audience, as a replica holds them. */
export interface Ring {
  readonly audience: string;
  /** Grows by one with each change. */
  readonly version: number;
  readonly keys: readonly RingKey[];
}

/** One key of a ring. The active one seals; it and all others open, but for destroyed ones. */
export interface RingKey {
  /** 11 characters of base64url. */
  readonly id: string;
  readonly state: "pending" | "active" | "retired" | "destroyed";
  /** 32 bytes; none of a destroyed key. */
  readonly key: Buffer;
}

/** What may be sealed with, at a moment. */
export interface Sealing {
  readonly key: RingKey;
  /** The newest revision of the audience's state that every replica reads. */
  readonly revision: number;
}

/** Where an audience's ring comes from. */
export interface RingSource {
  /** The newest ring heard of. Undefined before the first, and while it may be out of date. */
  current(): Ring | undefined;
  /**
   * What may be sealed with now. Undefined: this program holds no lease on the ring, or none any more,
   * or no key is active. Ask again for each seal.
   */
  sealing(): Sealing | undefined;
  /**
   * Asks for the ring anew, because a token names a key that `current()` lacks. Calls made while a
   * request is under way share it, and there is at most one a second.
   *
   * @throws StatusError KEYS_UNAVAILABLE when nobody answers
   */
  refresh(): Promise<Ring>;
}

/** A ring that never changes: for tests, and for programs that keep their keys themselves. */
export function fixedRing(ring: Ring): RingSource {
  const key = ring.keys.find(({ state }) => state === "active");
  const sealing = key && { key, revision: Number.POSITIVE_INFINITY };
  return { current: () => ring, sealing: () => sealing, refresh: () => Promise.resolve(ring) };
}
