import type { Db } from "waybill/postgres";

/** Deletes keys whose successor has been active so long that all their tokens have expired. */
export async function deleteSigningKeys(
  tx: Db,
  accessKeepS: number,
  refreshKeepS: number,
): Promise<void> {
  await tx.query(
    `DELETE FROM token.signing_key AS key
      WHERE EXISTS (
        SELECT FROM token.signing_key AS newer
         WHERE newer.activates_at > key.activates_at
           AND (newer.algorithm = 'HMAC') = (key.algorithm = 'HMAC')
           AND newer.activates_at < now() - interval '1 second'
               * CASE WHEN key.algorithm = 'HMAC' THEN $2::float8 ELSE $1::float8 END
      )`,
    [accessKeepS, refreshKeepS],
  );
}
