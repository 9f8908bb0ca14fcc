import type { Db } from "../../pg/pool.ts";

/**
 * Stores a spilled state, unless its session would exceed its quota.
 *
 * @param quota of all states that are stored of the session, in bytes
 * @returns whether it is stored, now or since before
 */
export async function insertSpill(
  db: Db,
  schema: string,
  spill: { sessionId: string; address: Buffer; content: Buffer },
  quota: number,
): Promise<boolean> {
  const { rows } = await db.query<{ stored: boolean }>({
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
           SELECT known OR used + octet_length($3::bytea) <= $4::bigint AS stored FROM before`,
    values: [spill.sessionId, spill.address, spill.content, quota],
  });
  return rows[0]!.stored;
}
