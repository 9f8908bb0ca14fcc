import type { Db } from "../../pg/pool.ts";

/** A version that there was. */
export interface AdvanceRow {
  /** Fingerprints of its chain digest, and of the one's before it; null for the first. */
  readonly digest: Buffer;
  readonly parent: Buffer | null;
  /** Fingerprint of the call that made it; null for the first. */
  readonly call: Buffer | null;
  /** Who made it, and when. */
  readonly replica: string;
  readonly createdAt: Date;
}

/** Undefined when the session never had such a version, or is long over. */
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
