import type { Db } from "waybill/postgres";

export interface Attempt {
  key: Buffer;
  /** Attempts in the window, this one included. */
  count: number;
  /** Whole seconds until the window ends. */
  leftS: number;
}

/**
 * Counts one attempt under each key, and starts a new window where the last one has ended. Locks rows
 * in the order of their keys, so that concurrent attempts cannot deadlock.
 *
 * @param known key of an account and address
 * @returns `isKnown`: the address has signed in to the account before
 */
export async function countAttempts(
  db: Db,
  keys: { key: Buffer; windowS: number }[],
  known: Buffer,
): Promise<{ attempts: Attempt[]; isKnown: boolean }> {
  const { rows } = await db.query<Attempt & { isKnown: boolean }>(
    `INSERT INTO identity.attempt AS attempt (key, count, window_ends_at)
     SELECT key, 1, now() + window_s * interval '1 second'
       FROM unnest($1::bytea[], $2::integer[]) AS given (key, window_s)
      ORDER BY key
     ON CONFLICT (key) DO UPDATE
       SET count = CASE WHEN attempt.window_ends_at <= now() THEN 1 ELSE attempt.count + 1 END,
           window_ends_at = CASE WHEN attempt.window_ends_at <= now() THEN excluded.window_ends_at
                                 ELSE attempt.window_ends_at END
     RETURNING key, count, ceil(extract(epoch FROM window_ends_at - now()))::integer AS "leftS",
               EXISTS (SELECT FROM identity.known_address WHERE known_address.key = $3::bytea)
                 AS "isKnown"`,
    [keys.map(({ key }) => key), keys.map(({ windowS }) => windowS), known],
  );
  return { attempts: rows, isKnown: rows[0]?.isKnown ?? false };
}
