import type { Db } from "waybill/postgres";
import type { RingKeyRow } from "./readRing.ts";

/** Replaces a key's wrapping, unless the row has changed since it was read. */
export async function rewrapKey(
  db: Db,
  before: Pick<RingKeyRow, "id" | "state" | "wrappingKeyId">,
  after: Pick<RingKeyRow, "wrappingKeyId" | "wrapped">,
): Promise<boolean> {
  const { rowCount } = await db.query(
    `UPDATE keys.ring_key SET wrapping_key_id = $4::text, wrapped = $5::bytea
      WHERE id = $1::text AND state = $2::text AND wrapping_key_id = $3::text`,
    [before.id, before.state, before.wrappingKeyId, after.wrappingKeyId, after.wrapped],
  );
  return rowCount === 1;
}
