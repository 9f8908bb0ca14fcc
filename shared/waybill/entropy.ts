import { randomFillSync } from "node:crypto";

const POOL_BYTES = 3072;
const MAX_PARTING_MS = 1000;

/** The two clocks that part when a process image is restored from a snapshot. */
export interface Clocks {
  /** Milliseconds since the Unix epoch. */
  wall(): number;
  /** Milliseconds since any fixed moment; stands still while the image is frozen. */
  monotonic(): number;
}

export const systemClocks: Clocks = {
  wall: () => Date.now(),
  monotonic: () => performance.now(),
};

/**
 * Random bytes, drawn from the system in bulk: one draw a nonce is the dearest part of a seal.
 *
 * A copy of this process made from a memory image has the same bytes in its pool. So the pool is
 * dropped, and `onRestore` called, when the wall clock has moved by more than a second against the
 * monotonic one. Nothing that was drawn before is handed out after.
 */
export class Entropy {
  readonly #pool = Buffer.alloc(POOL_BYTES);
  readonly #clocks: Clocks;
  readonly #onRestore: () => void;
  #next = POOL_BYTES;
  #offset: number;

  constructor(onRestore: () => void, clocks: Clocks = systemClocks) {
    this.#clocks = clocks;
    this.#onRestore = onRestore;
    this.#offset = clocks.wall() - clocks.monotonic();
  }

  /** Drops the pool if the clocks have parted. Call it before using what depends on the pool. */
  check(): void {
    const offset = this.#clocks.wall() - this.#clocks.monotonic();
    if (Math.abs(offset - this.#offset) <= MAX_PARTING_MS) return;
    this.#offset = offset;
    this.#next = POOL_BYTES;
    this.#onRestore();
  }

  /** The next `size` random bytes, in memory of their own. At most 3,072. */
  take(size: number): Buffer {
    if (this.#next + size > POOL_BYTES) {
      randomFillSync(this.#pool);
      this.#next = 0;
    }
    const start = this.#next;
    this.#next += size;
    const bytes = Buffer.from(this.#pool.subarray(start, this.#next));
    // What was handed out must not stay readable for whoever sees the pool later.
    this.#pool.fill(0, start, this.#next);
    return bytes;
  }
}
