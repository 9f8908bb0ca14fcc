import type { Db } from "waybill/postgres";
import { ORDER_COLUMNS, type OrderRow } from "./readOrder.ts";

/** Inserts an order. */
export async function insertOrder(tx: Db, order: Omit<OrderRow, "createdAt">): Promise<OrderRow> {
  const { rows } = await tx.query<OrderRow>(
    `INSERT INTO checkout."order" (id, subject, content)
     VALUES ($1::uuid, $2::text, $3::bytea)
     RETURNING ${ORDER_COLUMNS}`,
    [order.id, order.subject, order.content],
  );
  return rows[0]!;
}
