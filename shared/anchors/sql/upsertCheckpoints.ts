import type { Db } from "../../pg/pool.ts";

/** A version of a carried session, to be kept. */
export interface CheckpointRow {
  /** UUIDv7 in text form. */
  readonly sessionId: string;
  readonly version: number;
  /** Sealed. */
  readonly content: Buffer;
}

/** Keeps versions, one of each session at most, in the place of older ones. Newer ones stay. */
export async function upsertCheckpoints(
  db: Db,
  schema: string,
  rows: readonly CheckpointRow[],
): Promise<void> {
  await db.query({
    name: `${schema}.upsertCheckpoints`,
    text: `INSERT INTO ${schema}.checkpoint AS kept (session_id, version, content)
           SELECT * FROM unnest($1::uuid[], $2::integer[], $3::bytea[])
           ON CONFLICT (session_id) DO UPDATE
              SET version = EXCLUDED.version, content = EXCLUDED.content
            WHERE kept.version <= EXCLUDED.version`,
    values: [
      rows.map(({ sessionId }) => sessionId),
      rows.map(({ version }) => version),
      rows.map(({ content }) => content),
    ],
  });
}
