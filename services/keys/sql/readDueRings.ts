import type { Db } from "#shared/pg/pool.ts";

/** The audiences whose sealer has sealed for so long. */
export async function readDueRings(db: Db, rotateS: number): Promise<string[]> {
  const { rows } = await db.query<{ audience: string }>(
    `SELECT audience FROM keys.ring_key
      WHERE state = 'active' AND activated_at <= now() - make_interval(secs => $1::float8)`,
    [rotateS],
  );
  return rows.map(({ audience }) => audience);
}
