import type { Db } from "waybill/postgres";
import { PRODUCT_COLUMNS, type ProductRow } from "./product.ts";

/** Reads the products with these ids, in any order. */
export async function readProducts(db: Db, ids: bigint[]): Promise<ProductRow[]> {
  const { rows } = await db.query<ProductRow>({
    name: "catalog.readProducts",
    text: `SELECT ${PRODUCT_COLUMNS} FROM catalog.product WHERE id = ANY ($1::bigint[])`,
    values: [ids],
  });
  return rows;
}
