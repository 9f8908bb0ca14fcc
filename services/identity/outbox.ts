import { randomBytes } from "node:crypto";
import type { Assertions, RevocationFeed } from "waybill/auth";
import type { ServiceClient } from "waybill/client";
import type { Db, Pool } from "waybill/postgres";
import { TokenServiceService } from "#proto/waybill/token/v1/token.ts";
import { IdentityErrors } from "./errors.ts";
import { deleteOutbox } from "./sql/deleteOutbox.ts";
import { insertOutbox } from "./sql/insertOutbox.ts";
import { type OutboxRow, readOutbox } from "./sql/readOutbox.ts";

export interface OutboxOptions {
  db: Pool;
  feed: Pick<RevocationFeed, "send">;
  token: Pick<ServiceClient<typeof TokenServiceService>, "endSubject">;
  assertions: Assertions;
  /** Longest lifetime of a session in seconds, and so the lifetime of its revocation on the feed. */
  ttlS: number;
}

/**
 * Delivers revocations of subjects at least once. The transaction that revokes writes a row; the row is
 * deleted after both the feed and the token service have acknowledged it.
 */
export class Outbox {
  readonly #options: OutboxOptions;

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  /** Records that a subject's tokens below an epoch are revoked. @returns the row to deliver after the commit */
  async put(tx: Db, subject: string, epoch: number): Promise<OutboxRow> {
    const row = { id: randomBytes(16), subject, epoch };
    await insertOutbox(tx, row);
    return row;
  }

  /**
   * Delivers rows. Settles when the feed and the token service have acknowledged them.
   *
   * @throws StatusError TOKEN_UNAVAILABLE, KEYS_UNAVAILABLE
   */
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

  /** Delivers the rows of replicas that stopped, or failed to deliver. */
  async deliverLeftOvers(): Promise<void> {
    await this.deliver(await readOutbox(this.#options.db));
  }
}
