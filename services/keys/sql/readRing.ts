import type { Db } from "#shared/pg/pool.ts";

export interface RingKeyRow {
  id: string;
  audience: string;
  state: "pending" | "active" | "retired" | "destroyed";
  wrappingKeyId: string;
  wrapped: Buffer;
  createdAt: Date;
  /** By the database's clock, in seconds; null when it never sealed. */
  activeForS: number | null;
}

/** A ring with its keys, as of one moment. Undefined when the audience has none. */
export async function readRing(
  db: Db,
  audience: string,
): Promise<{ version: number; keys: RingKeyRow[] } | undefined> {
  const { rows } = await db.query<RingKeyRow & { version: number }>(
    `SELECT ring.version, key.id, key.audience, key.state, key.wrapping_key_id AS "wrappingKeyId",
            key.wrapped, key.created_at AS "createdAt",
            extract(epoch FROM now() - key.activated_at)::float8 AS "activeForS"
       FROM keys.ring
       JOIN keys.ring_key AS key USING (audience)
      WHERE ring.audience = $1::text
      ORDER BY key.created_at, key.id`,
    [audience],
  );
  return rows[0] && { version: rows[0].version, keys: rows };
}
