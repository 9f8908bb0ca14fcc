import type { StatusError } from "waybill";
import type { Db } from "waybill/postgres";
import { TokenErrors } from "../errors.ts";
import { takeGrants } from "../sql/takeGrants.ts";

const BATCH = 50;
const MAX_CLIENTS = 10_000;
/** How long a refusal is cached. */
const REFUSED_MS = 1000;

/**
 * Limits the tokens that each client gets in a minute, over all replicas. A replica takes a batch from
 * the count in Postgres and uses it without further queries.
 */
export class GrantLimit {
  readonly #db: Db;
  readonly #most: number;
  readonly #batches = new Map<string, { left: number; until: number; isRefused: boolean }>();
  readonly #taking = new Map<string, Promise<void>>();

  /** @param most grants for each client in a minute */
  constructor(db: Db, most: number) {
    this.#db = db;
    this.#most = most;
  }

  /** Counts a grant. @throws StatusError TOO_MANY_GRANTS */
  async count(client: string): Promise<void> {
    for (;;) {
      const batch = this.#batches.get(client);
      if (batch !== undefined && performance.now() < batch.until) {
        if (batch.isRefused) throw tooMany(client);
        if (batch.left > 0) {
          batch.left -= 1;
          return;
        }
      }
      // Concurrent calls wait for the same batch.
      let taking = this.#taking.get(client);
      if (taking === undefined) {
        taking = this.#take(client).finally(() => this.#taking.delete(client));
        this.#taking.set(client, taking);
      }
      await taking;
    }
  }

  async #take(client: string): Promise<void> {
    const batch = Math.min(BATCH, this.#most);
    const leftMs = await takeGrants(this.#db, client, batch, this.#most);
    const isRefused = leftMs === undefined;
    const until = performance.now() + (leftMs ?? REFUSED_MS);
    if (this.#batches.size >= MAX_CLIENTS) this.#batches.clear();
    this.#batches.set(client, { left: batch, until, isRefused });
  }
}

function tooMany(client: string): StatusError {
  return TokenErrors.TOO_MANY_GRANTS({ metadata: { client }, retryAfterMs: 10_000 });
}
