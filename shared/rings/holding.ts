import type { Moment } from "../runtime/clocks.ts";
import type { Ring, Sealing } from "./ring.ts";

/**
 * What a replica has of a ring: its newest version, and until when it may seal under it. Pure functions
 * from one to the next, as for the key service's side of the same agreement.
 */
export interface Holding {
  readonly ring: Ring | undefined;
  /**
   * Until when the lease lasts, by both clocks, in ms: the monotonic one, which nobody sets, and the
   * wall clock, which goes on while the machine sleeps. The earlier counts.
   */
  readonly until: Moment;
  /** The newest revision of the state that every replica reads. */
  readonly revision: number;
}

export const NOTHING: Holding = {
  ring: undefined,
  until: { monotonic: Number.NEGATIVE_INFINITY, wall: Number.NEGATIVE_INFINITY },
  revision: 0,
};

/** A ring was heard of. Older ones take nothing back. */
export function hear(holding: Holding, ring: Ring): Holding {
  const isNewer = holding.ring === undefined || ring.version > holding.ring.version;
  return isNewer ? { ...holding, ring } : holding;
}

/**
 * A lease was granted, with the ring as it was then.
 *
 * @param asked when it was asked for: the answer may have been long on its way
 */
export function take(
  holding: Holding,
  { ring, durationMs, revision }: { ring: Ring; durationMs: number; revision: number },
  asked: Moment,
): Holding {
  const heard = hear(holding, ring);
  const until = { monotonic: asked.monotonic + durationMs, wall: asked.wall + durationMs };
  // Both clocks' bounds are of one grant: the wall clock may have been set back since an earlier one.
  const isLater = until.monotonic >= heard.until.monotonic;
  return isLater ? { ...heard, until, revision } : heard;
}

/** The lease is given back. */
export function drop({ ring }: Holding): Holding {
  return { ...NOTHING, ring };
}

export function isLeased({ until }: Holding, now: Moment): boolean {
  return now.monotonic < until.monotonic && now.wall < until.wall;
}

/** What is sealed with while the lease lasts. Undefined: no key is active. */
export function sealingOf({ ring, revision }: Holding): Sealing | undefined {
  const key = ring?.keys.find(({ state }) => state === "active");
  return key && { key, revision };
}
