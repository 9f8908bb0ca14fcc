import type { Db } from "waybill/postgres";

export interface Line {
  productId: bigint;
  quantity: number;
}

/**
 * Takes products from the stock. Products that were never ordered before start from their initial
 * stock. A quantity that is not positive is not served. Rows are locked in the order of their ids, so that two orders never wait for each other.
 *
 * @returns the products that could be served: roll back unless all were
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
