import type { JWK } from "jose";
import type { Db } from "waybill/postgres";

export interface SigningKeyRow {
  id: string;
  algorithm: "EdDSA" | "ES256" | "HMAC";
  publicJwk: JWK | null;
  wrappingKeyId: string;
  wrapped: Buffer;
  createdAt: Date;
  activatesAt: Date;
  /** Seconds since creation, by the database's clock. */
  ageS: number;
  /** Milliseconds until the key signs; 0 or less: it is active or retired. */
  activeInMs: number;
}

/** Reads all keys, newest first. */
export async function readSigningKeys(db: Db): Promise<SigningKeyRow[]> {
  const { rows } = await db.query<SigningKeyRow>(
    `SELECT id, algorithm, public_jwk AS "publicJwk", wrapping_key_id AS "wrappingKeyId", wrapped,
            created_at AS "createdAt", activates_at AS "activatesAt",
            extract(epoch FROM now() - created_at)::float8 AS "ageS",
            extract(epoch FROM activates_at - now())::float8 * 1000 AS "activeInMs"
       FROM token.signing_key
      ORDER BY activates_at DESC, id`,
  );
  return rows;
}
