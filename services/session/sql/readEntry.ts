import type { Db } from "waybill/postgres";
import type { EntryRow } from "./listEntries.ts";

/** Reads a session of a subject. Undefined if the subject has no such session. */
export async function readEntry(
  db: Db,
  id: string,
  subject: string,
): Promise<EntryRow | undefined> {
  const { rows } = await db.query<EntryRow>(
    `SELECT session_id AS id, audience, expires_at AS "expiresAt"
       FROM session.directory
      WHERE session_id = $1::uuid AND subject = $2::text AND expires_at > now()`,
    [id, subject],
  );
  return rows[0];
}
