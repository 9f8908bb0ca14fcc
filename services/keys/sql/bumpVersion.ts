import type { Db } from "#shared/pg/pool.ts";

/** Takes the ring's next version, and its lock until the transaction ends. Undefined: no such ring. */
export async function bumpVersion(tx: Db, audience: string): Promise<number | undefined> {
  const { rows } = await tx.query<{ version: number }>(
    "UPDATE keys.ring SET version = version + 1 WHERE audience = $1::text RETURNING version",
    [audience],
  );
  return rows[0]?.version;
}
