import type { Db } from "#shared/pg/pool.ts";

/** Makes an audience's ring. False when it has one already. */
export async function insertRing(tx: Db, audience: string): Promise<boolean> {
  const { rowCount } = await tx.query(
    "INSERT INTO keys.ring (audience, version) VALUES ($1::text, 1) ON CONFLICT DO NOTHING",
    [audience],
  );
  return rowCount === 1;
}
