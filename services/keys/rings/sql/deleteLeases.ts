import type { Db } from "waybill/postgres";

/** Ends leases on a ring. */
export async function deleteLeases(tx: Db, audience: string, holders: string[]): Promise<void> {
  await tx.query("DELETE FROM keys.lease WHERE audience = $1::text AND holder = ANY ($2::text[])", [
    audience,
    holders,
  ]);
}
