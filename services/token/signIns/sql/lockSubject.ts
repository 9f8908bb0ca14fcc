import type { Db } from "waybill/postgres";

/** Serializes changes of a subject's families until the transaction ends. */
export async function lockSubject(tx: Db, subject: string): Promise<void> {
  await tx.query("SELECT pg_advisory_xact_lock(hashtextextended($1::text, 5071))", [subject]);
}
