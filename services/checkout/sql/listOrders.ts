import type { Db } from "waybill/postgres";
import { ORDER_COLUMNS, type OrderRow } from "./readOrder.ts";

/** The start of a page: after this order. `createdAt` is Postgres's text form, with microseconds. */
export interface Position {
  createdAt: string;
  id: string;
}

/** Lists a subject's orders, newest first. */
export async function listOrders(
  db: Db,
  subject: string,
  after: Position | undefined,
  limit: number,
): Promise<(OrderRow & { position: string })[]> {
  const { rows } = await db.query<OrderRow & { position: string }>(
    `SELECT ${ORDER_COLUMNS}, created_at::text AS position
       FROM checkout."order"
      WHERE subject = $1::text
        AND ($2::text IS NULL OR (created_at, id) < ($2::text::timestamptz, $3::uuid))
      ORDER BY created_at DESC, id DESC
      LIMIT $4::integer`,
    [subject, after?.createdAt ?? null, after?.id ?? null, limit],
  );
  return rows;
}
