import type { Db } from "waybill/postgres";

/** Times are in seconds since 1970, by the database's clock. */
export interface RingKeyRow {
  id: string;
  audience: string;
  state: "pending" | "active" | "retired" | "destroyed";
  /** The ring version that added the key. */
  since: number;
  wrappingKeyId: string;
  wrapped: Buffer;
  createdAt: Date;
  /** Null if the key never sealed. */
  activatedAt: number | null;
  /** Null while the key may still seal. */
  openUntil: number | null;
}

/** A ring with its keys, from one snapshot. */
export interface RingRows {
  version: number;
  keys: RingKeyRow[];
}

/** Reads a ring. Undefined if the audience has no ring with keys. */
export async function readRing(db: Db, audience: string): Promise<RingRows | undefined> {
  const { rows } = await db.query<RingKeyRow & { version: number }>(
    `SELECT ring.version, key.id, key.audience, key.state, key.since_version AS since,
            key.wrapping_key_id AS "wrappingKeyId", key.wrapped, key.created_at AS "createdAt",
            extract(epoch FROM key.activated_at)::float8 AS "activatedAt",
            extract(epoch FROM key.open_until)::float8 AS "openUntil"
       FROM keys.ring
       JOIN keys.ring_key AS key USING (audience)
      WHERE ring.audience = $1::text
      ORDER BY key.created_at, key.id`,
    [audience],
  );
  return rows[0] && { version: rows[0].version, keys: rows };
}
