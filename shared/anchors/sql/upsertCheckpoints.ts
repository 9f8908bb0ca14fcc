import type { Db } from "../../pg/pool.ts";

/** A checkpoint of a carried session. */
export interface CheckpointRow {
  /** UUIDv7 in text form. */
  readonly sessionId: string;
  readonly version: number;
  /** Sealed. */
  readonly content: Buffer;
}

/** Stores checkpoints, at most one for each session. One replaces an older checkpoint, but not a newer one. */
export async function upsertCheckpoints(
  db: Db,
  schema: string,
  rows: readonly CheckpointRow[],
): Promise<void> {
  await db.query({
    name: `${schema}.upsertCheckpoints`,
    text: `INSERT INTO ${schema}.checkpoint AS stored (session_id, version, content)
           SELECT * FROM unnest($1::uuid[], $2::integer[], $3::bytea[])
           ON CONFLICT (session_id) DO UPDATE
              SET version = EXCLUDED.version, content = EXCLUDED.content
            WHERE stored.version <= EXCLUDED.version`,
    values: [
      rows.map(({ sessionId }) => sessionId),
      rows.map(({ version }) => version),
      rows.map(({ content }) => content),
    ],
  });
}
