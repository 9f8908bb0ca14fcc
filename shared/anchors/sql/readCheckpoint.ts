import type { Db } from "../../pg/pool.ts";
import type { CheckpointRow } from "./upsertCheckpoints.ts";

/** Returns a carried session's checkpoint; undefined when it has none. */
export async function readCheckpoint(
  db: Db,
  schema: string,
  sessionId: string,
): Promise<Omit<CheckpointRow, "sessionId"> | undefined> {
  const { rows } = await db.query<Omit<CheckpointRow, "sessionId">>(
    `SELECT version, content FROM ${schema}.checkpoint WHERE session_id = $1::uuid`,
    [sessionId],
  );
  return rows[0];
}
