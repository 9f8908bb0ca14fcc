import type { Moment } from "../runtime/clocks.ts";
import type { Ring, Sealing } from "./ring.ts";

/**
 * A replica's copy of a ring, and its lease, during which it may seal. Pure functions make the next holding, as
 * on the key service's side of the lease protocol.
 */
export interface Holding {
  readonly ring: Ring | undefined;
  /**
   * End of the lease, by both clocks, in ms: the monotonic clock cannot be set, and the wall clock advances while
   * the machine sleeps. The earlier one counts.
   */
  readonly until: Moment;
  /** The newest state revision that every replica reads. */
  readonly revision: number;
}

export const NOTHING: Holding = {
  ring: undefined,
  until: { monotonic: Number.NEGATIVE_INFINITY, wall: Number.NEGATIVE_INFINITY },
  revision: 0,
};

/** Replaces the ring by a received one, unless that is older. */
export function receive(holding: Holding, ring: Ring): Holding {
  const isNewer = holding.ring === undefined || ring.version > holding.ring.version;
  return isNewer ? { ...holding, ring } : holding;
}

/**
 * Applies a granted lease, with the ring that came with it.
 *
 * @param asked when the lease was requested: it starts then, however late the response arrives
 */
export function take(
  holding: Holding,
  { ring, durationMs, revision }: { ring: Ring; durationMs: number; revision: number },
  asked: Moment,
): Holding {
  const received = receive(holding, ring);
  const until = { monotonic: asked.monotonic + durationMs, wall: asked.wall + durationMs };
  // Both ends are of the same grant: the wall clock may have been set back since an earlier one.
  const isLater = until.monotonic >= received.until.monotonic;
  return isLater ? { ...received, until, revision } : received;
}

/** Ends the lease. */
export function drop({ ring }: Holding): Holding {
  return { ...NOTHING, ring };
}

export function isLeased({ until }: Holding, now: Moment): boolean {
  return now.monotonic < until.monotonic && now.wall < until.wall;
}

/** Returns the key to seal with during the lease. Undefined: no key is active. */
export function sealingOf({ ring, revision }: Holding): Sealing | undefined {
  const key = ring?.keys.find(({ state }) => state === "active");
  return key && { key, revision };
}
