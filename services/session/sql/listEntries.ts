import type { Db } from "waybill/postgres";

export interface EntryRow {
  /** UUIDv7. */
  id: string;
  audience: string;
  expiresAt: Date;
}

/** Lists a subject's unexpired sessions, newest first. @param after the last id of the previous page */
export async function listEntries(
  db: Db,
  subject: string,
  after: string | undefined,
  limit: number,
): Promise<EntryRow[]> {
  const { rows } = await db.query<EntryRow>(
    `SELECT session_id AS id, audience, expires_at AS "expiresAt"
       FROM session.directory
      WHERE subject = $1::text
        AND expires_at > now()
        AND ($2::uuid IS NULL OR session_id < $2::uuid)
      ORDER BY session_id DESC
      LIMIT $3::integer`,
    [subject, after ?? null, limit],
  );
  return rows;
}
