import type { Db } from "waybill/postgres";

/** Locks the feed until the transaction ends, so that its next statement reads the complete feed. */
export async function lockFeed(tx: Db): Promise<void> {
  await tx.query("SELECT FROM keys.feed FOR NO KEY UPDATE");
}
