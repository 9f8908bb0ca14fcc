import type { Db } from "waybill/postgres";

export interface OutboxRow {
  id: Buffer;
  subject: string;
  epoch: number;
}

/** Reads rows older than five seconds: the replica that wrote a newer row still delivers it. */
export async function readOutbox(db: Db): Promise<OutboxRow[]> {
  const { rows } = await db.query<OutboxRow>(
    `SELECT id, subject, epoch FROM identity.outbox
      WHERE created_at < now() - interval '5 seconds'
      ORDER BY created_at LIMIT 100`,
  );
  return rows;
}
