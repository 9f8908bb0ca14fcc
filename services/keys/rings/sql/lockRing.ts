import type { Db } from "waybill/postgres";

/** Locks a ring's row until the transaction ends. @returns whether the ring exists */
export async function lockRing(tx: Db, audience: string): Promise<boolean> {
  const { rowCount } = await tx.query(
    "SELECT FROM keys.ring WHERE audience = $1::text FOR NO KEY UPDATE",
    [audience],
  );
  return rowCount === 1;
}
