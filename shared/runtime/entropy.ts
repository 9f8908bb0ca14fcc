import { randomFillSync } from "node:crypto";
import { openSync, readSync } from "node:fs";
import { type Clocks, systemClocks } from "./clocks.ts";

const POOL_BYTES = 3072;
const MAX_PARTING_MS = 1000;

/**
 * The kernel's random bytes. `node:crypto` derives its bytes from a state in this process's memory, so copies of a
 * memory image would generate the same bytes for minutes.
 */
const URANDOM = openUrandom();

/**
 * Random bytes, read from the kernel in bulk: one read for each nonce would be the most expensive part of a seal.
 *
 * Two copies of this process from one memory image have the same bytes in their pools, and would use the same nonces.
 * So the pool is dropped, and `onRestore` called, when the wall clock has moved by more than a second against the
 * monotonic clock.
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

  /** Drops the pool if the clocks have diverged. Call it before using bytes of the pool. */
  check(): void {
    const offset = this.#clocks.wall() - this.#clocks.monotonic();
    if (Math.abs(offset - this.#offset) <= MAX_PARTING_MS) return;
    this.#offset = offset;
    this.#next = POOL_BYTES;
    this.#onRestore();
  }

  /** Takes `size` random bytes, at most 3,072. */
  take(size: number): Buffer {
    if (this.#next + size > POOL_BYTES) {
      draw(this.#pool);
      this.#next = 0;
    }
    const bytes = Buffer.allocUnsafe(size);
    for (let index = 0; index < size; index += 1) {
      bytes[index] = this.#pool[this.#next]!;
      // A later leak of the pool must not reveal bytes that were taken.
      this.#pool[this.#next] = 0;
      this.#next += 1;
    }
    return bytes;
  }
}

function draw(pool: Buffer): void {
  if (URANDOM === undefined) {
    randomFillSync(pool);
    return;
  }
  // Older kernels return fewer bytes when a signal interrupts the read.
  for (let filled = 0; filled < pool.length; ) {
    const read = readSync(URANDOM, pool, { offset: filled });
    if (read === 0) throw new Error("/dev/urandom has ended");
    filled += read;
  }
}

/** Returns undefined on Windows, which has no /dev/urandom. */
function openUrandom(): number | undefined {
  return process.platform === "win32" ? undefined : openSync("/dev/urandom", "r");
}
