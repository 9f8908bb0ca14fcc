import type { Db } from "#shared/pg/pool.ts";
import { ORDER_COLUMNS, type OrderRow } from "./readOrder.ts";

/** Places an order. Undefined when its checkout has placed one before. */
export async function insertOrder(
  tx: Db,
  order: Omit<OrderRow, "createdAt">,
): Promise<OrderRow | undefined> {
  const { rows } = await tx.query<OrderRow>(
    `INSERT INTO checkout."order" (id, subject, content, digest)
     VALUES ($1::uuid, $2::text, $3::bytea, $4::bytea)
     ON CONFLICT (id) DO NOTHING
     RETURNING ${ORDER_COLUMNS}`,
    [order.id, order.subject, order.content, order.digest],
  );
  return rows[0];
}
