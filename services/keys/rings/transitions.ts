/**
 * State transitions of key rings, their keys and leases: pure functions from one ring state to the next. The
 * service locks the ring's row, reads the state, applies a transition and writes the result before it
 * commits. Times are in seconds, by one clock.
 *
 * Invariants, for replicas that seal only while their lease is valid, counted from when they sent its
 * renewal:
 * - a replica with a valid lease has every key that any replica has sealed with;
 * - every waybill sealed under a key has expired by the key's `openUntil`;
 * - no replica seals with a retired or destroyed key after all leases from before that change have expired;
 * - an acknowledged pending key is always available, unless keys are destroyed faster than replicas
 *   acknowledge new ones.
 */

/** A ring without the keys' bytes. */
export interface RingState {
  /** Grows by one with each change of the keys. 0: the ring does not exist yet. */
  readonly version: number;
  readonly keys: readonly KeyState[];
  readonly leases: readonly Lease[];
}

export interface KeyState {
  readonly id: string;
  readonly state: "pending" | "active" | "retired" | "destroyed";
  /** The ring version that added the key. */
  readonly since: number;
  /** When the key became active. Undefined if it never did. */
  readonly activatedAt?: number | undefined;
  /** When the last waybill sealed under the key expires. Undefined while the key may still seal. */
  readonly openUntil?: number | undefined;
}

/** A replica's lease on a ring: permission to seal until it expires. */
export interface Lease {
  /** Name of the process that holds the lease. */
  readonly holder: string;
  /** The ring version that the holder is known to have. */
  readonly acknowledged: number;
  /** The newest revision of the audience's state that the holder can read. */
  readonly reads: number;
  readonly expiresAt: number;
}

/** Durations that the key service and the replicas agree on. */
export interface Terms {
  /** Duration of a lease for its holder, from when the holder sent the request. */
  readonly leaseS: number;
  /** Additional time before a lease expires here: tolerance for clocks that differ or jump. */
  readonly graceS: number;
  /** Longest lifetime of a waybill. */
  readonly keepS: number;
}

export type MakeId = () => string;

/** Number of pending keys: one remains for an emergency right after the other has become active. */
const PENDING_KEYS = 2;

/** Returns the unexpired leases. */
export function liveLeases({ leases }: RingState, now: number): Lease[] {
  return leases.filter(({ expiresAt }) => expiresAt > now);
}

/** Returns the lease holders that have not acknowledged every pending key. */
export function waitedFor(ring: RingState, now: number): string[] {
  const newest = Math.max(...ring.keys.filter(isPending).map(({ since }) => since));
  return liveLeases(ring, now)
    .filter(({ acknowledged }) => acknowledged < newest)
    .map(({ holder }) => holder);
}

/**
 * Grants or renews a lease. The response must carry the returned ring, and no older one.
 *
 * A replica without a lease cannot seal until it receives the response, and the ring with it. So a grant
 * counts as an acknowledgement. A renewal does not: its response may be lost while the replica continues
 * with its old copy of the ring.
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
  // A version above the current one belongs to a ring that the database has lost. Its holder accepts no
  // older version, so it has acknowledged nothing.
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

/** Ends a lease. Its holder must have stopped sealing. */
export function release(ring: RingState, holder: string, now: number, makeId: MakeId): RingState {
  const leases = ring.leases.filter((lease) => lease.holder !== holder);
  return mend({ ...ring, leases }, now, makeId);
}

/**
 * Rotates a ring: activates the oldest pending key and retires the active one. Returns the same ring while a
 * lease holder has not acknowledged every pending key (see `waitedFor`).
 */
export function rotate(ring: RingState, now: number, terms: Terms, makeId: MakeId): RingState {
  const pending = ring.keys.filter(isPending);
  const isReady = pending.length >= PENDING_KEYS && waitedFor(ring, now).length === 0;
  if (!isReady) return ring;
  const keys = ring.keys.map((key) =>
    key.state === "active" ? closed(key, "retired", now, terms) : key,
  );
  return mended(ring, keys, now, makeId);
}

/**
 * Destroys a leaked key in any state. If it was active, an acknowledged pending key becomes active. Returns
 * the same ring if it has no such key.
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

/** Removes keys after the last waybill sealed under them has expired. */
export function sweep(ring: RingState, now: number): RingState {
  const keys = ring.keys.filter(({ openUntil }) => openUntil === undefined || openUntil > now);
  return keys.length === ring.keys.length ? ring : { ...ring, version: ring.version + 1, keys };
}

/**
 * Completes a ring: activates a key once every lease has acknowledged it, and adds missing pending keys.
 * Returns the same ring if there is nothing to do.
 */
export function mend(ring: RingState, now: number, makeId: MakeId): RingState {
  return mended(ring, ring.keys, now, makeId);
}

/** Replaces a ring's keys and completes them. */
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
  while (keys.filter(isPending).length < PENDING_KEYS) keys.push(fresh());
  const isSame =
    keys.length === ring.keys.length && keys.every((key, place) => key === ring.keys[place]);
  return isSame ? ring : { ...ring, version, keys };
}

/** Retires or destroys a key. A replica that has not yet seen the change may seal until its lease expires. */
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
