import type { Db } from "waybill/postgres";

/** Number of the advisory lock. */
const LOCK = 5_071_000_002n;

/** Serializes changes of the signing keys until the transaction ends. */
export async function lockSigningKeys(tx: Db): Promise<void> {
  await tx.query("SELECT pg_advisory_xact_lock($1::bigint)", [LOCK]);
}
