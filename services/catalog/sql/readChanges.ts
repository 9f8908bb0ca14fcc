import type { Db } from "waybill/postgres";

export interface ChangeRow {
  number: bigint;
  productId: bigint;
}

/** Most changes read at a time. */
const LIMIT = 1000;

/**
 * What was changed after a number, in order.
 *
 * @param after 0: nothing is known
 * @returns `number`: all up to it are among the rows, or were known before; `gap`: some of those after the
 *   number given are kept no more, or there are not so many, or nothing was known
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
