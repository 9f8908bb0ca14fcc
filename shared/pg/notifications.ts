import type { PoolClient } from "pg";
import type { Logger } from "pino";
import { reconnect } from "../runtime/reconnect.ts";
import { withConnection } from "./connection.ts";
import type { Pool } from "./pool.ts";

const RETRY_MS = 1000;

/** Listeners by channel; each gets a notification's payload. */
type Listeners = Readonly<Record<string, (payload: string) => void>>;

/**
 * Receives the notifications that other replicas of a service commit, on a connection of its own, which
 * must not pass through a pooler. Notifications are lost while it is disconnected: listeners must also
 * poll.
 */
export class Notifications {
  readonly #listeners: Listeners;
  readonly #closing = new AbortController();

  constructor(db: Pool, log: Logger, listeners: Listeners) {
    this.#listeners = listeners;
    const listen = () => withConnection(db, (client) => this.#listen(client));
    const { signal } = this.#closing;
    const options = { signal, log, minBackoffMs: RETRY_MS, maxBackoffMs: RETRY_MS };
    void reconnect("notification connection lost; reconnecting", listen, options);
  }

  close(): void {
    this.#closing.abort();
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
