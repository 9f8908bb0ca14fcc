import type { Db } from "waybill/postgres";
import type { LeaseRow } from "./readLeases.ts";

/** Grants or renews a lease. */
export async function upsertLease(tx: Db, audience: string, lease: LeaseRow): Promise<void> {
  await tx.query(
    `INSERT INTO keys.lease (audience, holder, acknowledged_version, reads_revision, expires_at)
     VALUES ($1::text, $2::text, $3::integer, $4::integer, to_timestamp($5::float8))
     ON CONFLICT (audience, holder) DO UPDATE
       SET acknowledged_version = excluded.acknowledged_version,
           reads_revision = excluded.reads_revision, expires_at = excluded.expires_at`,
    [audience, lease.holder, lease.acknowledged, lease.reads, lease.expiresAt],
  );
}
