import type { Db } from "waybill/postgres";
import type { Filter } from "../filter.ts";
import { PRODUCT_COLUMNS, type ProductRow } from "./product.ts";

/** A sort order. Rows with equal values are sorted by id. */
export interface Order {
  readonly column: "id" | "title" | "price_cents" | "release_date";
  readonly descending: boolean;
}

/** The start of a page: after the row with this sort value (as text) and id. */
export interface Position {
  readonly value: string;
  readonly id: bigint;
}

/** The sort expression of each order and its type. Each has an index. */
const SORT = {
  id: { expression: "id", type: "bigint" },
  title: { expression: "title", type: "text" },
  price_cents: { expression: "price_cents", type: "bigint" },
  // Films without a date come first.
  release_date: {
    expression: "coalesce(release_date, '-infinity'::date)",
    type: "date",
  },
} as const;

/** Reads a page of products. Each row has its sort value, for the position of the next page. */
export async function listProducts(
  db: Db,
  filter: Filter,
  order: Order,
  after: Position | undefined,
  limit: number,
): Promise<(ProductRow & { sortValue: string })[]> {
  const { expression, type } = SORT[order.column];
  const values: unknown[] = [...filter.values];
  const conditions = [...filter.conditions];
  if (after !== undefined) {
    values.push(after.value, after.id);
    const [value, id] = [`$${values.length - 1}::text::${type}`, `$${values.length}::bigint`];
    conditions.push(`(${expression}, id) ${order.descending ? "<" : ">"} (${value}, ${id})`);
  }
  values.push(limit);
  const direction = order.descending ? "DESC" : "ASC";
  const { rows } = await db.query<ProductRow & { sortValue: string }>(
    `SELECT ${PRODUCT_COLUMNS}, (${expression})::text AS "sortValue"
       FROM catalog.product
      ${conditions.length > 0 ? `WHERE ${conditions.join(" AND ")}` : ""}
      ORDER BY ${expression} ${direction}, id ${direction}
      LIMIT $${values.length}::integer`,
    values,
  );
  return rows;
}
