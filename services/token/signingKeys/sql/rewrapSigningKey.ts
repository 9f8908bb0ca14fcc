import type { Db } from "waybill/postgres";

/** Replaces the wrapping of a signing key. */
export async function rewrapSigningKey(
  tx: Db,
  id: string,
  wrappingKeyId: string,
  wrapped: Buffer,
): Promise<void> {
  await tx.query(
    `UPDATE token.signing_key SET wrapping_key_id = $2::text, wrapped = $3::bytea
      WHERE id = $1::text`,
    [id, wrappingKeyId, wrapped],
  );
}
