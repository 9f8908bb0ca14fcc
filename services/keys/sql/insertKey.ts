import type { Db } from "#shared/pg/pool.ts";
import type { RingKeyRow } from "./readRing.ts";

/** Adds a key to a ring. */
export async function insertKey(
  tx: Db,
  row: Omit<RingKeyRow, "createdAt" | "activeForS">,
): Promise<void> {
  await tx.query(
    `INSERT INTO keys.ring_key (id, audience, state, wrapping_key_id, wrapped, activated_at)
     VALUES ($1::text, $2::text, $3::text, $4::text, $5::bytea,
             CASE $3::text WHEN 'active' THEN now() END)`,
    [row.id, row.audience, row.state, row.wrappingKeyId, row.wrapped],
  );
}
