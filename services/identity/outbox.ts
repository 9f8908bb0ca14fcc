import { randomBytes } from "node:crypto";
import { TokenServiceService } from "#proto/waybill/token/v1/token.ts";
import type { Assertions } from "#shared/auth/assertions.ts";
import type { RevocationFeed } from "#shared/auth/revocationFeed.ts";
import type { ServiceClient } from "#shared/client/client.ts";
import type { Db, Pool } from "#shared/pg/pool.ts";
import { IdentityErrors } from "./errors.ts";
import { deleteOutbox } from "./sql/deleteOutbox.ts";
import { insertOutbox } from "./sql/insertOutbox.ts";
import { type OutboxRow, readOutbox } from "./sql/readOutbox.ts";

/** Where revocations go. */
export interface OutboxOptions {
  db: Pool;
  feed: Pick<RevocationFeed, "send">;
  token: Pick<ServiceClient<typeof TokenServiceService>, "endSubject">;
  assertions: Assertions;
  /** How long a session may live at most: as long as what it was begun with can matter, in seconds. */
  ttlS: number;
}

/**
 * Subjects whose tokens end. A row is written in the transaction that ends them, and removed when
 * both the feed and the token service have acknowledged it: whatever happens between, they hear of it.
 */
export class Outbox {
  readonly #options: OutboxOptions;

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  /** Notes that everything of a subject below an epoch ends. @returns what to deliver after the commit */
  async put(tx: Db, subject: string, epoch: number): Promise<OutboxRow> {
    const row = { id: randomBytes(16), subject, epoch };
    await insertOutbox(tx, row);
    return row;
  }

  /** Settles when the feed and the token service have acknowledged it. */
  async deliver(rows: readonly OutboxRow[]): Promise<void> {
    if (rows.length === 0) return;
    const { db, feed, token, assertions, ttlS } = this.#options;
    const ttl = { seconds: BigInt(ttlS), nanos: 0 };
    await feed.send(
      rows.map(({ id, subject, epoch }) => ({
        id,
        target: { $case: "subjectEpoch", value: { subject, epoch } },
        ttl,
      })),
    );
    const metadata = await assertions.to(TokenServiceService.endSubject);
    const ends = rows.map(({ subject, epoch }) =>
      token.endSubject({ subject, epoch }, { metadata }),
    );
    await Promise.all(ends).catch((cause: unknown) => {
      throw IdentityErrors.TOKEN_UNAVAILABLE({ cause, retryAfterMs: 1000 });
    });
    await deleteOutbox(
      db,
      rows.map(({ id }) => id),
    );
  }

  /** Delivers what a replica that has ended, or could reach nobody, has left behind. */
  async deliverLeftOvers(): Promise<void> {
    await this.deliver(await readOutbox(this.#options.db));
  }
}
