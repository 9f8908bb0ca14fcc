import type { Db } from "#shared/pg/pool.ts";

/** Puts a hash of the same secret in the place of one of another cost, if that is still there. */
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
