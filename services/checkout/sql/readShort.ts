import type { Db } from "#shared/pg/pool.ts";
import type { Line } from "./takeStock.ts";

/** Which of the lines the stock is too small for. */
export async function readShort(db: Db, lines: Line[]): Promise<bigint[]> {
  const { rows } = await db.query<{ productId: bigint }>(
    `SELECT line.product_id AS "productId"
       FROM unnest($1::bigint[], $2::integer[]) AS line (product_id, quantity)
       LEFT JOIN checkout.stock USING (product_id)
      WHERE line.quantity > coalesce(stock.available, checkout.initial_stock(line.product_id))
      ORDER BY line.product_id`,
    [lines.map((line) => line.productId), lines.map((line) => line.quantity)],
  );
  return rows.map((row) => row.productId);
}
