import type { Db } from "../../pg/pool.ts";

/**
 * Creates partitions ahead of time, and drops those whose sessions have all expired.
 *
 * @returns the names of the dropped partitions; undefined while another replica does this work
 */
export async function keepPartitions(
  db: Db,
  schema: string,
  widthS: number,
  keepS: number,
): Promise<string[] | undefined> {
  const { rows } = await db.query<{ dropped: string[] | null }>(
    `SELECT ${schema}.keep_partitions(make_interval(secs => $1::float8),
                                      make_interval(secs => $2::float8)) AS dropped`,
    [widthS, keepS],
  );
  return rows[0]?.dropped ?? undefined;
}
