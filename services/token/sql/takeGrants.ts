import type { Db } from "waybill/postgres";

/**
 * Takes a batch of grants from a client's limit in the current minute.
 *
 * @param most limit in a minute; the last batch may exceed it
 * @returns milliseconds until the minute ends; undefined when the limit is reached
 */
export async function takeGrants(
  db: Db,
  client: string,
  batch: number,
  most: number,
): Promise<number | undefined> {
  const { rows } = await db.query<{ leftMs: number }>(
    `INSERT INTO token.grant_window AS grants (client, taken, ends_at)
     VALUES ($1::text, $2::integer, now() + interval '1 minute')
     ON CONFLICT (client) DO UPDATE
       SET taken = CASE WHEN grants.ends_at <= now() THEN $2::integer
                        ELSE grants.taken + $2::integer END,
           ends_at = CASE WHEN grants.ends_at <= now() THEN excluded.ends_at
                          ELSE grants.ends_at END
       WHERE grants.ends_at <= now() OR grants.taken < $3::integer
     RETURNING extract(epoch FROM ends_at - now())::float8 * 1000 AS "leftMs"`,
    [client, batch, most],
  );
  return rows[0]?.leftMs;
}
