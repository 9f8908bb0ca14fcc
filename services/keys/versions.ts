import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import type { Pool } from "waybill/postgres";
import { readVersions } from "./sql/readVersions.ts";

const POLL_MS = 1000;

/**
 * Tells watchers that their ring has another version: at once where a replica says so, and by one query
 * a second for all of them in case none did. While the database is away the watchers keep what they have.
 */
export class Versions {
  readonly #db: Pool;
  readonly #log: Logger;
  readonly #pollMs: number;
  readonly #watchers = new Map<string, Set<(version: number) => void>>();
  readonly #closing = new AbortController();

  /** @param pollMs how often the database is asked */
  constructor(db: Pool, log: Logger, pollMs: number = POLL_MS) {
    this.#pollMs = pollMs;
    this.#db = db;
    this.#log = log;
    void this.#poll();
  }

  /** Calls `heard` with each version read from now on; ends with the function returned. */
  watch(audience: string, heard: (version: number) => void): () => void {
    const watchers = this.#watchers.get(audience) ?? new Set();
    this.#watchers.set(audience, watchers.add(heard));
    return () => {
      watchers.delete(heard);
      if (watchers.size === 0) this.#watchers.delete(audience);
    };
  }

  /** Tells of a version known already, such as after a rotation made here. */
  tell(audience: string, version: number): void {
    for (const heard of this.#watchers.get(audience) ?? []) heard(version);
  }

  /** The same, as another replica has said it: `{version} {audience}`. */
  hear(said: string): void {
    const [, version, audience] = /^(\d+) (.+)$/.exec(said) ?? [];
    if (audience !== undefined) this.tell(audience, Number(version));
  }

  close(): void {
    this.#closing.abort();
  }

  async #poll(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      await delay(this.#pollMs, undefined, { signal }).catch(() => {});
      if (signal.aborted || this.#watchers.size === 0) continue;
      try {
        const versions = await readVersions(this.#db, [...this.#watchers.keys()]);
        for (const [audience, version] of versions) this.tell(audience, version);
      } catch (err) {
        this.#log.warn({ err }, "cannot read the versions of the rings");
      }
    }
  }
}
