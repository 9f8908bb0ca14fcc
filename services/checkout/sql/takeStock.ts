import type { Db } from "waybill/postgres";

export interface Line {
  productId: bigint;
  quantity: number;
}

/**
 * Takes products from stock. A product without a row starts from its initial stock. Ignores quantities below 1.
 * Locks rows in the order of their ids, so that two orders cannot deadlock.
 *
 * @returns the products with enough stock: roll back unless all are among them
 */
export async function takeStock(tx: Db, lines: Line[]): Promise<Set<bigint>> {
  const { rows } = await tx.query<{ productId: bigint }>(
    `INSERT INTO checkout.stock AS stock (product_id, available)
     SELECT product_id, checkout.initial_stock(product_id) - quantity
       FROM unnest($1::bigint[], $2::integer[]) AS line (product_id, quantity)
      WHERE quantity > 0
        AND (quantity <= checkout.initial_stock(product_id)
             OR EXISTS (SELECT FROM checkout.stock AS known WHERE known.product_id = line.product_id))
      ORDER BY product_id
     ON CONFLICT (product_id) DO UPDATE
       SET available = stock.available
                       - (checkout.initial_stock(stock.product_id) - excluded.available)
       WHERE stock.available
             >= checkout.initial_stock(stock.product_id) - excluded.available
     RETURNING product_id AS "productId"`,
    [lines.map((line) => line.productId), lines.map((line) => line.quantity)],
  );
  return new Set(rows.map(({ productId }) => productId));
}
