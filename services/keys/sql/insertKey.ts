import type { Db } from "#shared/pg/pool.ts";
import type { RingKeyRow } from "./readRing.ts";

/** Adds a key to a ring. */
export async function insertKey(tx: Db, row: Omit<RingKeyRow, "createdAt">): Promise<void> {
  await tx.query(
    `INSERT INTO keys.ring_key (id, audience, state, wrapping_key_id, wrapped)
     VALUES ($1::text, $2::text, $3::text, $4::text, $5::bytea)`,
    [row.id, row.audience, row.state, row.wrappingKeyId, row.wrapped],
  );
}
