import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import type { Revocation, Revocations } from "#proto/waybill/keys/v1/keys.ts";
import type { Pool } from "#shared/pg/pool.ts";
import { deleteExpiredRevocations } from "./sql/deleteExpiredRevocations.ts";
import { type RevocationRow, readRevocations } from "./sql/readRevocations.ts";

const POLL_MS = 1000;
const SWEEP_MS = 10 * 60_000;

/**
 * The feed, as one replica of the key service hands it out. It holds nothing: each answer comes from
 * Postgres. Watchers are woken when there is more, and once a second in case nobody said so.
 */
export class Feed {
  readonly #db: Pool;
  readonly #log: Logger;
  readonly #pollMs: number;
  readonly #closing = new AbortController();
  readonly #watchers = new Set<() => void>();
  /** Reads that have not begun yet, by the number they start from. */
  readonly #next = new Map<bigint, Promise<Revocations>>();
  #reading: Promise<unknown> = Promise.resolve();

  /** @param pollMs how often watchers are woken though nothing was heard of */
  constructor(db: Pool, log: Logger, pollMs: number = POLL_MS) {
    this.#pollMs = pollMs;
    this.#db = db;
    this.#log = log;
    void this.#keepAwake();
    void this.#sweep();
  }

  /** Calls `wake` whenever there may be more; ends with the function returned. */
  watch(wake: () => void): () => void {
    this.#watchers.add(wake);
    return () => this.#watchers.delete(wake);
  }

  /** Says that there is more. */
  wake(): void {
    for (const wake of this.#watchers) wake();
  }

  /**
   * What comes after a number, from a read of Postgres that begins after this call. Those who ask
   * for the same while another read is under way share the next one.
   */
  read(after: bigint): Promise<Revocations> {
    const waiting = this.#next.get(after);
    if (waiting !== undefined) return waiting;
    const read = this.#reading.then(async () => {
      this.#next.delete(after);
      const { number, rows } = await readRevocations(this.#db, after);
      return { afterNumber: after, number, revocations: rows.map(toMessage) };
    });
    this.#next.set(after, read);
    this.#reading = read.catch(() => {});
    return read;
  }

  close(): void {
    this.#closing.abort();
  }

  async #keepAwake(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      await delay(this.#pollMs, undefined, { signal }).catch(() => {});
      this.wake();
    }
  }

  async #sweep(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      await delay(SWEEP_MS * (0.5 + Math.random()), undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      await deleteExpiredRevocations(this.#db).catch((err: unknown) =>
        this.#log.warn({ err }, "cannot remove what has run out"),
      );
    }
  }
}

function toMessage(row: RevocationRow): Revocation {
  return { id: row.id, target: targetOf(row), ttl: { seconds: BigInt(row.ttlS), nanos: 0 } };
}

function targetOf({ kind, target, epoch, owner }: RevocationRow): Revocation["target"] {
  switch (kind) {
    case "subjectEpoch":
      return { $case: kind, value: { subject: target, epoch } };
    case "session":
      return { $case: kind, value: { id: target, owner } };
    default:
      return { $case: kind, value: target };
  }
}
