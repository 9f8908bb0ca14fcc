import type { Db } from "waybill/postgres";
import type { SigningKeyRow } from "./readSigningKeys.ts";

/** Inserts a key. @param publishS seconds until the key signs */
export async function insertSigningKey(
  tx: Db,
  key: Pick<SigningKeyRow, "id" | "algorithm" | "publicJwk" | "wrappingKeyId" | "wrapped">,
  publishS: number,
): Promise<void> {
  await tx.query(
    `INSERT INTO token.signing_key (id, algorithm, public_jwk, wrapping_key_id, wrapped, activates_at)
     VALUES ($1::text, $2::text, $3::jsonb, $4::text, $5::bytea,
             now() + $6::float8 * interval '1 second')`,
    [
      key.id,
      key.algorithm,
      key.publicJwk === null ? null : JSON.stringify(key.publicJwk),
      key.wrappingKeyId,
      key.wrapped,
      publishS,
    ],
  );
}
