import type { Db } from "../../pg/pool.ts";

/** Where a session stands. */
export interface AnchorRow {
  readonly version: number;
  /** Fingerprint of the newest version's chain digest. */
  readonly head: Buffer;
  readonly ended: boolean;
  /** Sealed. */
  readonly answer: Buffer;
}

/**
 * Undefined when the session has no anchor.
 *
 * @param service whose session it is. Default: the schema's own
 * @param lock until the transaction's end
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
