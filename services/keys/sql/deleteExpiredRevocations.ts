import type { Db } from "waybill/postgres";

/** Deletes expired revocations, at most 10,000. @returns the number of deleted rows */
export async function deleteExpiredRevocations(db: Db): Promise<number> {
  const { rowCount } = await db.query(
    `DELETE FROM keys.revocation
      WHERE number IN (SELECT number FROM keys.revocation
                        WHERE expires_at < now() - interval '5 minutes'
                        LIMIT 10000)`,
  );
  return rowCount ?? 0;
}
