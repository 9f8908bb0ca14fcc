import type { Db } from "waybill/postgres";

/** Removes keys from a ring. */
export async function deleteKeys(tx: Db, audience: string, ids: string[]): Promise<void> {
  await tx.query("DELETE FROM keys.ring_key WHERE audience = $1::text AND id = ANY ($2::text[])", [
    audience,
    ids,
  ]);
}
