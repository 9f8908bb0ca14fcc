import type { Db } from "waybill/postgres";

/** Reads the scopes and audiences that every user may be granted. */
export async function readGrantedToUsers(
  db: Db,
): Promise<{ scopes: string[]; audiences: string[] }> {
  const { rows } = await db.query<{ scopes: string[]; audiences: string[] }>(
    `SELECT ARRAY(SELECT id FROM identity.scope WHERE granted_to_users ORDER BY id) AS scopes,
            ARRAY(SELECT id FROM identity.audience WHERE granted_to_users ORDER BY id) AS audiences`,
  );
  return rows[0]!;
}
