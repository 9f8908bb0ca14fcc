import type { Db } from "waybill/postgres";

/** A key as it is kept. Times are in seconds since 1970, by the database's clock. */
export interface RingKeyRow {
  id: string;
  audience: string;
  state: "pending" | "active" | "retired" | "destroyed";
  /** The ring's version that it came with. */
  since: number;
  wrappingKeyId: string;
  wrapped: Buffer;
  createdAt: Date;
  /** Null when it never sealed. */
  activatedAt: number | null;
  /** Null when it may seal yet. */
  openUntil: number | null;
}

/** A ring with its keys, as of one moment. */
export interface RingRows {
  version: number;
  keys: RingKeyRow[];
}

/** Undefined when the audience has none. */
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
