import type { Db } from "waybill/postgres";
import type { RingKeyRow } from "./readRing.ts";

/** Adds a key to a ring. */
export async function insertKey(
  tx: Db,
  row: Omit<RingKeyRow, "createdAt" | "openUntil">,
): Promise<void> {
  await tx.query(
    `INSERT INTO keys.ring_key
       (id, audience, state, since_version, wrapping_key_id, wrapped, activated_at)
     VALUES ($1::text, $2::text, $3::text, $4::integer, $5::text, $6::bytea,
             to_timestamp($7::float8))`,
    [row.id, row.audience, row.state, row.since, row.wrappingKeyId, row.wrapped, row.activatedAt],
  );
}
