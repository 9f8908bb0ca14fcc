import type { Db } from "#shared/pg/pool.ts";

export interface Attempt {
  key: Buffer;
  /** This one among them. */
  count: number;
  /** Until the window ends, in whole seconds. */
  leftS: number;
}

/**
 * Counts one attempt under each key, in a new window where the last one is over. Rows are locked in
 * the order of their keys, so that no two attempts wait for each other.
 *
 * @param known the key of an account and an address
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
