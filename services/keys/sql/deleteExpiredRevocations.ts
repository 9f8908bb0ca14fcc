import type { Db } from "waybill/postgres";

/** Removes what no token that is alive can be hit by. @returns how many, 10,000 at most */
export async function deleteExpiredRevocations(db: Db): Promise<number> {
  const { rowCount } = await db.query(
    `DELETE FROM keys.revocation
      WHERE number IN (SELECT number FROM keys.revocation
                        WHERE expires_at < now() - interval '5 minutes'
                        LIMIT 10000)`,
  );
  return rowCount ?? 0;
}
