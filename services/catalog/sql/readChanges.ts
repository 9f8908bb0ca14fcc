import type { Db } from "waybill/postgres";

export interface ChangeRow {
  number: bigint;
  productId: bigint;
}

/** Maximum number of changes per read. */
const LIMIT = 1000;

/**
 * Reads the changes after a number, in order.
 *
 * @param after 0: the reader has seen no change
 * @returns `number`: with these rows the reader has seen every change up to this number; `gap`: changes after
 *   `after` are no longer stored, or `after` is 0 or beyond the newest change
 */
export async function readChanges(
  db: Db,
  after: bigint,
): Promise<{ number: bigint; gap: boolean; rows: ChangeRow[] }> {
  const { rows } = await db.query<{
    head: bigint;
    number: bigint | null;
    productId: bigint | null;
  }>({
    name: "catalog.readChanges",
    text: `SELECT feed.number AS head, change.number, change.product_id AS "productId"
             FROM catalog.feed
             LEFT JOIN LATERAL (
               SELECT * FROM catalog.change
                WHERE change.number > $1::bigint AND $1::bigint > 0
                ORDER BY change.number
                LIMIT ${LIMIT}
             ) AS change ON true
            ORDER BY change.number`,
    values: [after],
  });
  const { head } = rows[0]!;
  const found = rows.filter((row) => row.number !== null) as ChangeRow[];
  if (head === after) return { number: head, gap: after === 0n, rows: [] };
  const isNext = found[0]?.number === after + 1n;
  if (!isNext) return { number: head, gap: true, rows: [] };
  const isCut = found.length === LIMIT;
  return { number: isCut ? found.at(-1)!.number : head, gap: false, rows: found };
}
