import type { Logger } from "pino";
import type { Pool } from "waybill/postgres";
import { every } from "#shared/runtime/periodic.ts";
import { readVersions } from "./sql/readVersions.ts";

const POLL_MS = 1000;

/**
 * Notifies watchers of new versions of their key ring: at once on a notification of a replica, and by one query
 * a second for all of them in case a notification was lost. While the database is unavailable the watchers
 * keep the version that they have.
 */
export class Versions {
  readonly #db: Pool;
  readonly #watchers = new Map<string, Set<(version: number) => void>>();
  readonly #stop: () => void;

  /** @param pollMs approximate poll interval */
  constructor(db: Pool, log: Logger, pollMs: number = POLL_MS) {
    this.#db = db;
    this.#stop = every("reading the versions of key rings", pollMs, () => this.#poll(), log);
  }

  /** Calls `heard` with each new version. @returns a function that stops the watch */
  watch(audience: string, heard: (version: number) => void): () => void {
    const watchers = this.#watchers.get(audience) ?? new Set();
    this.#watchers.set(audience, watchers.add(heard));
    return () => {
      watchers.delete(heard);
      if (watchers.size === 0) this.#watchers.delete(audience);
    };
  }

  /** Publishes a version to this replica's watchers, such as after a rotation by this replica. */
  tell(audience: string, version: number): void {
    for (const heard of this.#watchers.get(audience) ?? []) heard(version);
  }

  /** Publishes a version from another replica's notification, `{version} {audience}`. */
  hear(said: string): void {
    const [, version, audience] = /^(\d+) (.+)$/.exec(said) ?? [];
    if (audience !== undefined) this.tell(audience, Number(version));
  }

  close(): void {
    this.#stop();
  }

  async #poll(): Promise<void> {
    if (this.#watchers.size === 0) return;
    const versions = await readVersions(this.#db, [...this.#watchers.keys()]);
    for (const [audience, version] of versions) this.tell(audience, version);
  }
}
