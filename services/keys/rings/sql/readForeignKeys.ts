import type { Db } from "waybill/postgres";
import type { RingKeyRow } from "./readRing.ts";

type WrappedKeyRow = Pick<RingKeyRow, "id" | "audience" | "state" | "wrappingKeyId" | "wrapped">;

/** Reads the keys that are wrapped with a different key-encryption key. */
export async function readForeignKeys(db: Db, wrappingKeyId: string): Promise<WrappedKeyRow[]> {
  const { rows } = await db.query<WrappedKeyRow>(
    `SELECT id, audience, state, wrapping_key_id AS "wrappingKeyId", wrapped
       FROM keys.ring_key
      WHERE wrapping_key_id <> $1::text AND state <> 'destroyed'`,
    [wrappingKeyId],
  );
  return rows;
}
