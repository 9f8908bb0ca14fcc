import type { Db } from "waybill/postgres";

export interface LeaseRow {
  holder: string;
  acknowledged: number;
  reads: number;
  /** Seconds since 1970. */
  expiresAt: number;
}

/**
 * Reads the leases on a ring, and the time in seconds since 1970 by the database's clock: not the start of
 * the transaction, which may have waited for the ring's lock.
 */
export async function readLeases(
  tx: Db,
  audience: string,
): Promise<{ now: number; leases: LeaseRow[] }> {
  const { rows } = await tx.query<LeaseRow & { now: number; holder: string | null }>(
    `SELECT extract(epoch FROM clock.now)::float8 AS now, holder,
            acknowledged_version AS acknowledged, reads_revision AS reads,
            extract(epoch FROM expires_at)::float8 AS "expiresAt"
       FROM (SELECT clock_timestamp() AS now) AS clock
       LEFT JOIN keys.lease ON audience = $1::text
      ORDER BY holder`,
    [audience],
  );
  return { now: rows[0]!.now, leases: rows.filter(({ holder }) => holder !== null) };
}
