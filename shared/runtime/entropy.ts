import { randomFillSync } from "node:crypto";
import { openSync, readSync } from "node:fs";
import { type Clocks, systemClocks } from "./clocks.ts";

const POOL_BYTES = 3072;
const MAX_PARTING_MS = 1000;

/**
 * The kernel's random bytes. Not those of `node:crypto`: OpenSSL makes them from a state in this
 * process's memory, so that copies of a memory image make the same ones for minutes.
 */
const URANDOM = openUrandom();

/**
 * Random bytes, drawn from the kernel in bulk: one draw a nonce is the dearest part of a seal.
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
      draw(this.#pool);
      this.#next = 0;
    }
    const bytes = Buffer.allocUnsafe(size);
    for (let index = 0; index < size; index += 1) {
      bytes[index] = this.#pool[this.#next]!;
      // What was handed out must not stay readable for whoever sees the pool later.
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
  // Older kernels cut a read short when a signal comes in the midst of it.
  for (let filled = 0; filled < pool.length; ) {
    const read = readSync(URANDOM, pool, { offset: filled });
    if (read === 0) throw new Error("/dev/urandom has ended");
    filled += read;
  }
}

/** Undefined on Windows, which has no such file. */
function openUrandom(): number | undefined {
  return process.platform === "win32" ? undefined : openSync("/dev/urandom", "r");
}
