import type { Db } from "../../pg/pool.ts";

/** What an advance of a stream was answered. */
export interface KeptAnswer {
  readonly version: number;
  /** Fingerprint of the version's chain digest. */
  readonly digest: Buffer;
  /** Sealed. */
  readonly answer: Buffer;
}

/** Those after a version, in their order and up to a number, as far as none is missing. */
export async function readKeptAnswers(
  db: Db,
  schema: string,
  sessionId: string,
  version: number,
  limit: number,
): Promise<KeptAnswer[]> {
  const { rows } = await db.query<Omit<KeptAnswer, "answer"> & { answer: Buffer | null }>(
    `SELECT version, digest, answer
       FROM ${schema}.advance
      WHERE session_id = $1::uuid AND version > $2::integer
      ORDER BY version
      LIMIT $3::integer`,
    [sessionId, version, limit],
  );
  const missing = rows.findIndex(({ answer }) => answer === null);
  return (missing === -1 ? rows : rows.slice(0, missing)) as KeptAnswer[];
}
