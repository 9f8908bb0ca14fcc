import type { Db } from "../../pg/pool.ts";

/** A saved response of a stream. */
export interface SavedResponseRow {
  readonly version: number;
  /** Fingerprint of the version's chain digest. */
  readonly digest: Buffer;
  /** Sealed. */
  readonly answer: Buffer;
}

/** Most bytes read at once, besides the last response: a gRPC message holds 4 MiB. */
const MAX_BYTES = 2 * 2 ** 20;

/**
 * Reads the saved responses after a version, in their order, up to the first that is missing, up to `limit`
 * and about 2 MiB.
 */
export async function readSavedResponses(
  db: Db,
  schema: string,
  sessionId: string,
  version: number,
  limit: number,
): Promise<SavedResponseRow[]> {
  const { rows } = await db.query<Omit<SavedResponseRow, "answer"> & { answer: Buffer | null }>(
    `SELECT version, digest, answer
       FROM (SELECT version, digest, answer,
                    sum(octet_length(answer)) OVER (ORDER BY version) AS bytes
               FROM (SELECT version, digest, answer
                       FROM ${schema}.advance
                      WHERE session_id = $1::uuid AND version > $2::integer
                      ORDER BY version
                      LIMIT $3::integer) AS following) AS counted
      WHERE answer IS NULL OR bytes - octet_length(answer) < $4::integer
      ORDER BY version`,
    [sessionId, version, limit, MAX_BYTES],
  );
  const missing = rows.findIndex(({ answer }) => answer === null);
  return (missing === -1 ? rows : rows.slice(0, missing)) as SavedResponseRow[];
}
