import type { Db } from "#shared/pg/pool.ts";

/** How many sessions of some owners are on the feed: the most of any one. */
export async function countSessionRevocations(db: Db, owners: string[]): Promise<number> {
  const { rows } = await db.query<{ most: number }>(
    `SELECT coalesce(max(count), 0)::integer AS most
       FROM (SELECT count(*) FROM keys.revocation
              WHERE kind = 'session' AND owner = ANY ($1::text[]) GROUP BY owner) AS counted`,
    [owners],
  );
  return rows[0]!.most;
}
