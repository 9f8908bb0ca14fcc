import type { Db } from "waybill/postgres";

/** Reads the subject and client of a family, active or ended. */
export async function readFamilyOwner(
  db: Db,
  id: string,
): Promise<{ subject: string; client: string } | undefined> {
  const { rows } = await db.query<{ subject: string; client: string }>(
    "SELECT subject, client FROM token.family WHERE id = $1::uuid",
    [id],
  );
  return rows[0];
}
