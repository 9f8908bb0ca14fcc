import type { Db } from "../../pg/pool.ts";

/** A session's current version. */
export interface AnchorRow {
  readonly version: number;
  /** Fingerprint of its chain digest. */
  readonly head: Buffer;
  readonly ended: boolean;
  /** Sealed. */
  readonly answer: Buffer;
}

/**
 * Returns undefined when the session has no anchor.
 *
 * @param service the session's service. Default: the schema's own
 * @param lock locks the row until the transaction ends
 */
export async function readAnchor(
  db: Db,
  schema: string,
  sessionId: string,
  service?: string,
  lock = false,
): Promise<AnchorRow | undefined> {
  const { rows } = await db.query<AnchorRow>({
    name: `${schema}.readAnchor${lock ? "ForUpdate" : ""}`,
    text: `SELECT version, head, ended, answer
             FROM ${schema}.anchor
            WHERE session_id = $1::uuid AND service IS NOT DISTINCT FROM $2::text${lock ? " FOR UPDATE" : ""}`,
    values: [sessionId, service ?? null],
  });
  return rows[0];
}
