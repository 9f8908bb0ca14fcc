import type { Db } from "../../pg/pool.ts";

/** The recorded advance to a version. */
export interface AdvanceRow {
  /** Fingerprints of its chain digest, and of the previous version's; null for the first. */
  readonly digest: Buffer;
  readonly parent: Buffer | null;
  /** Fingerprint of the call that made it; null for the first. */
  readonly call: Buffer | null;
  readonly replica: string;
  readonly createdAt: Date;
}

/** Returns undefined when the session never had this version, or its partition was dropped. */
export async function readAdvance(
  db: Db,
  schema: string,
  sessionId: string,
  version: number,
): Promise<AdvanceRow | undefined> {
  const { rows } = await db.query<AdvanceRow>(
    `SELECT digest, parent, call, replica, created_at AS "createdAt"
       FROM ${schema}.advance
      WHERE session_id = $1::uuid AND version = $2::integer`,
    [sessionId, version],
  );
  return rows[0];
}
