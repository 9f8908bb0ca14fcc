import type { Db } from "waybill/postgres";

export async function deleteOutbox(db: Db, ids: Buffer[]): Promise<void> {
  await db.query("DELETE FROM identity.outbox WHERE id = ANY ($1::bytea[])", [ids]);
}
