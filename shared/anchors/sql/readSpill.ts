import type { Db } from "../../pg/pool.ts";

/** Returns a spilled state, sealed; undefined when the session has none at that address. */
export async function readSpill(
  db: Db,
  schema: string,
  sessionId: string,
  address: Buffer,
): Promise<Buffer | undefined> {
  const { rows } = await db.query<{ content: Buffer }>({
    name: `${schema}.readSpill`,
    text: `SELECT content FROM ${schema}.spill
            WHERE session_id = $1::uuid AND address = $2::bytea`,
    values: [sessionId, address],
  });
  return rows[0]?.content;
}
