import type { Db } from "#shared/pg/pool.ts";

/** Any number: it names the lock that replicas make keys under, one after another. */
const LOCK = 5_071_000_002n;

/** Held until the transaction ends. */
export async function lockSigningKeys(tx: Db): Promise<void> {
  await tx.query("SELECT pg_advisory_xact_lock($1::bigint)", [LOCK]);
}
