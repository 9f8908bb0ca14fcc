import { setTimeout as delay } from "node:timers/promises";
import type { PoolClient } from "pg";
import type { Logger } from "pino";
import { withConnection } from "./connection.ts";
import type { Pool } from "./pool.ts";

const RETRY_MS = 1000;

/** Who hears of what, by channel. */
type Listeners = Readonly<Record<string, (payload: string) => void>>;

/**
 * Hears what other replicas of a service have committed, on a connection of its own, which no pooler may lie
 * on the way of. What is said while that is broken gets lost: whoever listens looks for himself from time to
 * time.
 */
export class Notifications {
  readonly #db: Pool;
  readonly #log: Logger;
  readonly #listeners: Listeners;
  readonly #closing = new AbortController();

  constructor(db: Pool, log: Logger, listeners: Listeners) {
    this.#db = db;
    this.#log = log;
    this.#listeners = listeners;
    void this.#keepListening();
  }

  close(): void {
    this.#closing.abort();
  }

  async #keepListening(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        await withConnection(this.#db, (client) => this.#listen(client));
      } catch (error) {
        const { message } = error as Error;
        if (!signal.aborted) this.#log.warn({ cause: message }, "cannot hear of other replicas");
      }
      await delay(RETRY_MS, undefined, { signal }).catch(() => {});
    }
  }

  async #listen(client: PoolClient): Promise<void> {
    const { signal } = this.#closing;
    client.on("notification", ({ channel, payload = "" }) => this.#listeners[channel]?.(payload));
    try {
      await client.query(
        Object.keys(this.#listeners)
          .map((channel) => `LISTEN ${channel}`)
          .join("; "),
      );
      await new Promise<void>((resolve, reject) => {
        client.once("error", reject);
        client.once("end", () => reject(new Error("the connection has ended")));
        if (signal.aborted) resolve();
        signal.addEventListener("abort", () => resolve(), { once: true });
      });
      await client.query("UNLISTEN *");
    } finally {
      client.removeAllListeners("notification");
    }
  }
}
