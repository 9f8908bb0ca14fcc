import type { Db } from "waybill/postgres";
import type { Entry } from "#shared/anchors/sessionDirectory.ts";

/** Adds sessions to the directory. Existing entries stay unchanged. */
export async function insertEntries(
  db: Db,
  entries: readonly (Entry & { audience: string })[],
): Promise<void> {
  await db.query(
    `INSERT INTO session.directory (session_id, subject, audience, expires_at)
     SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[])
     ON CONFLICT (session_id) DO NOTHING`,
    [
      entries.map(({ id }) => id),
      entries.map(({ subject }) => subject),
      entries.map(({ audience }) => audience),
      entries.map(({ expiresAt }) => new Date(expiresAt)),
    ],
  );
}
