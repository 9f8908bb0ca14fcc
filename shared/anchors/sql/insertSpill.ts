import type { Db } from "../../pg/pool.ts";

/**
 * Keeps a state, unless its session would then have more than its quota.
 *
 * @param quota of all that is kept of the session, in bytes
 * @returns whether it is kept, now or since before
 */
export async function insertSpill(
  db: Db,
  schema: string,
  spill: { sessionId: string; address: Buffer; content: Buffer },
  quota: number,
): Promise<boolean> {
  const { rows } = await db.query<{ kept: boolean }>({
    name: `${schema}.insertSpill`,
    text: `WITH before AS (
             SELECT coalesce(sum(octet_length(content)), 0) AS used,
                    coalesce(bool_or(address = $2::bytea), false) AS known
               FROM ${schema}.spill WHERE session_id = $1::uuid
           ), inserted AS (
             INSERT INTO ${schema}.spill (session_id, address, content)
             SELECT $1::uuid, $2::bytea, $3::bytea FROM before
              WHERE NOT known AND used + octet_length($3::bytea) <= $4::bigint
             ON CONFLICT DO NOTHING
           )
           SELECT known OR used + octet_length($3::bytea) <= $4::bigint AS kept FROM before`,
    values: [spill.sessionId, spill.address, spill.content, quota],
  });
  return rows[0]!.kept;
}
