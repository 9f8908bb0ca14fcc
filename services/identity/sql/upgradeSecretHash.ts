import type { Db } from "waybill/postgres";

/** Replaces a hash by one of the same secret at another cost, unless the hash has changed. */
export async function upgradeSecretHash(
  db: Db,
  id: string,
  before: string,
  after: string,
): Promise<void> {
  await db.query(
    `UPDATE identity."user" SET secret_hash = $3::text
      WHERE id = $1::uuid AND secret_hash = $2::text`,
    [id, before, after],
  );
}
