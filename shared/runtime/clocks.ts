/** The wall clock and the monotonic clock. They diverge when a machine sleeps or is restored from a snapshot. */
export interface Clocks {
  /** Milliseconds since the Unix epoch. It can be set back. */
  wall(): number;
  /** Milliseconds since any fixed moment. It pauses while the image is frozen. */
  monotonic(): number;
}

export const systemClocks: Clocks = {
  wall: () => Date.now(),
  monotonic: () => performance.now(),
};

/** A moment by both clocks, in ms. */
export interface Moment {
  readonly monotonic: number;
  readonly wall: number;
}

export function moment(clocks: Clocks): Moment {
  return { monotonic: clocks.monotonic(), wall: clocks.wall() };
}
