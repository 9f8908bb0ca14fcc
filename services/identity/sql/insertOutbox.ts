import type { Db } from "waybill/postgres";
import type { OutboxRow } from "./readOutbox.ts";

export async function insertOutbox(tx: Db, { id, subject, epoch }: OutboxRow): Promise<void> {
  await tx.query(
    "INSERT INTO identity.outbox (id, subject, epoch) VALUES ($1::bytea, $2::text, $3::integer)",
    [id, subject, epoch],
  );
}
