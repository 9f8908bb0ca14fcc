/** The two clocks that part when a machine sleeps, or a process image is restored from a snapshot. */
export interface Clocks {
  /** Milliseconds since the Unix epoch. Somebody may set it. */
  wall(): number;
  /** Milliseconds since any fixed moment; stands still while the image is frozen. */
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
