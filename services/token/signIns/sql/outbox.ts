import type { Db } from "waybill/postgres";

/** An ended family that the feed has not acknowledged. */
export interface OutboxRow {
  /** 16 bytes. */
  id: Buffer;
  family: string;
}

export async function insertOutbox(tx: Db, rows: OutboxRow[]): Promise<void> {
  await tx.query(
    "INSERT INTO token.outbox (id, family) SELECT * FROM unnest($1::bytea[], $2::uuid[])",
    [rows.map(({ id }) => id), rows.map(({ family }) => family)],
  );
}

/** Reads rows older than five seconds: the replica that wrote a newer row still delivers it. */
export async function readOutbox(db: Db): Promise<OutboxRow[]> {
  const { rows } = await db.query<OutboxRow>(
    `SELECT id, family FROM token.outbox
      WHERE created_at < now() - interval '5 seconds'
      ORDER BY created_at LIMIT 500`,
  );
  return rows;
}

/** Reads the rows of one family. */
export async function readOutboxOf(db: Db, family: string): Promise<OutboxRow[]> {
  const { rows } = await db.query<OutboxRow>(
    "SELECT id, family FROM token.outbox WHERE family = $1::uuid",
    [family],
  );
  return rows;
}

export async function deleteOutbox(db: Db, ids: Buffer[]): Promise<void> {
  await db.query("DELETE FROM token.outbox WHERE id = ANY ($1::bytea[])", [ids]);
}
