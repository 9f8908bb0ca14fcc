import type { Db } from "waybill/postgres";

/** Locks the feed until the transaction ends: what its next statement reads is all that is on it. */
export async function lockFeed(tx: Db): Promise<void> {
  await tx.query("SELECT FROM keys.feed FOR NO KEY UPDATE");
}
