import type { Db } from "waybill/postgres";

export interface OrderRow {
  /** UUID: the checkout's session id. */
  id: string;
  subject: string;
  content: Buffer;
  createdAt: Date;
}

export const ORDER_COLUMNS = `id, subject, content, created_at AS "createdAt"`;

/** Reads an order of a subject. Undefined if the subject has no such order. */
export async function readOrder(
  db: Db,
  id: string,
  subject: string,
): Promise<OrderRow | undefined> {
  const { rows } = await db.query<OrderRow>(
    `SELECT ${ORDER_COLUMNS} FROM checkout."order" WHERE id = $1::uuid AND subject = $2::text`,
    [id, subject],
  );
  return rows[0];
}
