/**
 * How rings, their keys and the leases on them change: pure functions from one state of a ring to the
 * next. The service runs each of them on what it has read while it holds the lock of the ring's row,
 * and writes what came of it before it lets go. Times are in seconds, by one clock.
 *
 * What they keep, for replicas that seal only while their lease lasts, counted from when they sent its
 * renewal:
 * - a replica whose lease lasts has every key that another has sealed with;
 * - nothing sealed under a key is alive after its `openUntil`;
 * - when a lease that was there at a key's retirement or destruction has run out, nobody seals with it;
 * - an acknowledged key stands by at any time, unless emergencies follow each other faster than
 *   replicas acknowledge.
 */

/** A ring, as the key service keeps it, but for the keys' bytes. */
export interface RingState {
  /** Grows by one with each change of the keys. 0: the ring has yet to be made. */
  readonly version: number;
  readonly keys: readonly KeyState[];
  readonly leases: readonly Lease[];
}

export interface KeyState {
  readonly id: string;
  readonly state: "pending" | "active" | "retired" | "destroyed";
  /** The ring's version that it came with. */
  readonly since: number;
  /** When it began to seal. Undefined: it never did. */
  readonly activatedAt?: number | undefined;
  /** Until when something that it sealed may be alive. Undefined: it may seal yet. */
  readonly openUntil?: number | undefined;
}

/** What a replica holds while it seals. */
export interface Lease {
  /** The process that holds it. */
  readonly holder: string;
  /** The ring's version that it is known to have. */
  readonly acknowledged: number;
  /** The newest revision of the audience's state that it reads. */
  readonly reads: number;
  readonly expiresAt: number;
}

/** What is agreed on. */
export interface Terms {
  /** How long a lease lasts for its holder, from when he asked for it. */
  readonly leaseS: number;
  /** How much longer it is kept here: what clocks may differ by, and jump, meanwhile. */
  readonly graceS: number;
  /** How long what a key sealed may live. */
  readonly keepS: number;
}

/** Makes the id of a new key. */
export type MakeId = () => string;

/** How many keys stand by: one for an emergency, also while the other has just become the sealer. */
const STANDING_BY = 2;

/** The leases that may last yet. */
export function liveLeases({ leases }: RingState, now: number): Lease[] {
  return leases.filter(({ expiresAt }) => expiresAt > now);
}

/** Whoever holds a lease and may lack a key that stands by. */
export function waitedFor(ring: RingState, now: number): string[] {
  const newest = Math.max(...ring.keys.filter(isPending).map(({ since }) => since));
  return liveLeases(ring, now)
    .filter(({ acknowledged }) => acknowledged < newest)
    .map(({ holder }) => holder);
}

/**
 * Grants or renews a lease. Its answer must carry the ring as it is then, and nothing older.
 *
 * Whoever holds no lease can do nothing until he has the answer, and has the ring with it: so it counts
 * as his acknowledgement. Whoever holds one may never see the answer, and go on with what he has.
 */
export function grant(
  before: RingState,
  asked: Pick<Lease, "holder" | "acknowledged" | "reads">,
  now: number,
  { leaseS, graceS }: Terms,
  makeId: MakeId,
): RingState {
  const ring = mend(before, now, makeId);
  const live = liveLeases(ring, now);
  const held = live.find(({ holder }) => holder === asked.holder);
  // A version that never was is of a ring that was lost, and its holder takes no older one.
  const isLost = asked.acknowledged > ring.version;
  const known = held === undefined ? ring.version : Math.max(asked.acknowledged, held.acknowledged);
  const lease: Lease = {
    ...asked,
    acknowledged: isLost ? 0 : known,
    expiresAt: Math.max(now + leaseS + graceS, held?.expiresAt ?? 0),
  };
  const others = live.filter((each) => each !== held);
  return mend({ ...ring, leases: [...others, lease] }, now, makeId);
}

/** Ends a lease: its holder seals nothing any more. */
export function release(ring: RingState, holder: string, now: number, makeId: MakeId): RingState {
  const leases = ring.leases.filter((lease) => lease.holder !== holder);
  return mend({ ...ring, leases }, now, makeId);
}

/**
 * The oldest key that stands by seals from now on; the sealer opens only. The same ring, when not every
 * lease that may last has acknowledged every key that stands by: see `waitedFor`.
 */
export function rotate(ring: RingState, now: number, terms: Terms, makeId: MakeId): RingState {
  const pending = ring.keys.filter(isPending);
  const isReady = pending.length >= STANDING_BY && waitedFor(ring, now).length === 0;
  if (!isReady) return ring;
  const keys = ring.keys.map((key) =>
    key.state === "active" ? closed(key, "retired", now, terms) : key,
  );
  return mended(ring, keys, now, makeId);
}

/**
 * Destroys a key that has leaked, whatever its state. When it is the sealer, a key that stands by takes
 * over. The same ring, when it has no such key.
 */
export function destroy(
  ring: RingState,
  keyId: string,
  now: number,
  terms: Terms,
  makeId: MakeId,
): RingState {
  if (!ring.keys.some(({ id, state }) => id === keyId && state !== "destroyed")) return ring;
  const keys = ring.keys.map((key) =>
    key.id === keyId ? closed(key, "destroyed", now, terms) : key,
  );
  return mended(ring, keys, now, makeId);
}

/** Removes the keys under which nothing can be alive. */
export function sweep(ring: RingState, now: number): RingState {
  const keys = ring.keys.filter(({ openUntil }) => openUntil === undefined || openUntil > now);
  return keys.length === ring.keys.length ? ring : { ...ring, version: ring.version + 1, keys };
}

/**
 * Gives a ring what it lacks: a sealer, as soon as there is a key that every lease has acknowledged, and
 * keys that stand by. The same ring, when nothing can be done. A ring that has no keys gets them.
 */
export function mend(ring: RingState, now: number, makeId: MakeId): RingState {
  return mended(ring, ring.keys, now, makeId);
}

/** The ring with other keys, and with what these lack. */
function mended(
  ring: RingState,
  given: readonly KeyState[],
  now: number,
  makeId: MakeId,
): RingState {
  const version = ring.version + 1;
  const fresh = (): KeyState => ({ id: makeId(), state: "pending", since: version });
  let keys = given.length === 0 ? [fresh()] : [...given];
  if (!keys.some(({ state }) => state === "active")) {
    const acknowledged = Math.min(...liveLeases(ring, now).map((lease) => lease.acknowledged));
    const next = keys
      .filter(isPending)
      .sort((one, other) => one.since - other.since)
      .find(({ since }) => since <= acknowledged);
    keys = keys.map((key) => (key === next ? { ...key, state: "active", activatedAt: now } : key));
  }
  while (keys.filter(isPending).length < STANDING_BY) keys.push(fresh());
  const isSame =
    keys.length === ring.keys.length && keys.every((key, place) => key === ring.keys[place]);
  return isSame ? ring : { ...ring, version, keys };
}

/** A key that seals no more. Whoever has not heard of it may seal under it until his lease runs out. */
function closed(
  key: KeyState,
  state: "retired" | "destroyed",
  now: number,
  { leaseS, graceS, keepS }: Terms,
): KeyState {
  const openUntil = key.openUntil ?? now + leaseS + graceS + keepS;
  return { ...key, state, openUntil };
}

function isPending({ state }: KeyState): boolean {
  return state === "pending";
}
