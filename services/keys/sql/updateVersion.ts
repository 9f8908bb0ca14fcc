import type { Db } from "#shared/pg/pool.ts";

/** Gives a ring its next version. */
export async function updateVersion(tx: Db, audience: string, version: number): Promise<void> {
  const { rowCount } = await tx.query(
    "UPDATE keys.ring SET version = $2::integer WHERE audience = $1::text AND version < $2::integer",
    [audience, version],
  );
  if (rowCount !== 1) throw new Error(`the ring of ${audience} went on without its lock`);
}
