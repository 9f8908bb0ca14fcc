import type { Db } from "waybill/postgres";

/** Removes a successful attempt from the counts, and records its address as known to the account. */
export async function refundAttempts(db: Db, keys: Buffer[], known: Buffer): Promise<void> {
  await db.query(
    `WITH remembered AS (
       INSERT INTO identity.known_address (key, seen_at) VALUES ($2::bytea, now())
       ON CONFLICT (key) DO UPDATE SET seen_at = now()
     ), locked AS (
       SELECT key FROM identity.attempt WHERE key = ANY ($1::bytea[]) ORDER BY key FOR UPDATE
     )
     UPDATE identity.attempt SET count = greatest(count - 1, 0)
      WHERE key IN (SELECT key FROM locked)`,
    [keys, known],
  );
}
