import type { Db } from "waybill/postgres";
import type { RingKeyRow } from "./readRing.ts";

/** Updates a key's state, times and wrapping. */
export async function updateKey(
  tx: Db,
  row: Omit<RingKeyRow, "createdAt" | "since">,
): Promise<void> {
  const { rowCount } = await tx.query(
    `UPDATE keys.ring_key
        SET state = $3::text, wrapping_key_id = $4::text, wrapped = $5::bytea,
            activated_at = to_timestamp($6::float8), open_until = to_timestamp($7::float8)
      WHERE id = $1::text AND audience = $2::text`,
    [
      row.id,
      row.audience,
      row.state,
      row.wrappingKeyId,
      row.wrapped,
      row.activatedAt,
      row.openUntil,
    ],
  );
  if (rowCount !== 1) throw new Error(`key ${row.id} is no longer in the ring of ${row.audience}`);
}
