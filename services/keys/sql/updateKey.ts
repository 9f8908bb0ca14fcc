import type { Db } from "#shared/pg/pool.ts";
import type { RingKeyRow } from "./readRing.ts";

/**
 * Gives a key another state, and the wrapping that goes with it.
 *
 * @param keepS how long what it sealed may live from now on, in seconds, where it does not seal any more
 */
export async function updateKey(
  tx: Db,
  row: Pick<RingKeyRow, "id" | "audience" | "state" | "wrappingKeyId" | "wrapped">,
  keepS: number,
): Promise<void> {
  const { rowCount } = await tx.query(
    `UPDATE keys.ring_key
        SET state = $3::text, wrapping_key_id = $4::text, wrapped = $5::bytea,
            activated_at = CASE $3::text WHEN 'active' THEN now() ELSE activated_at END,
            open_until = CASE WHEN $3::text IN ('retired', 'destroyed')
                              THEN coalesce(open_until, now() + make_interval(secs => $6::float8)) END
      WHERE id = $1::text AND audience = $2::text`,
    [row.id, row.audience, row.state, row.wrappingKeyId, row.wrapped, keepS],
  );
  if (rowCount !== 1) throw new Error(`key ${row.id} left the ring of ${row.audience}`);
}
