import type { Db } from "#shared/pg/pool.ts";

/** Removes the keys under which nothing can be alive any more. @returns how many */
export async function deleteClosedKeys(db: Db): Promise<number> {
  const { rowCount } = await db.query("DELETE FROM keys.ring_key WHERE open_until < now()");
  return rowCount ?? 0;
}
