const DEFAULT = 25;
const MAX = 100;

/** How many items a page has (AIP-158): 25 where the request names none, and never more than 100. */
export function pageSize(asked: number): number {
  return asked === 0 ? DEFAULT : Math.min(asked, MAX);
}

/**
 * Cuts a page out of rows that were read with a limit of one more than it holds.
 *
 * @returns the page, and its last row where another page comes after it
 */
export function cutPage<Row>(rows: readonly Row[], size: number): { page: Row[]; last?: Row } {
  const page = rows.slice(0, size);
  const last = page.at(-1);
  return rows.length > size && last !== undefined ? { page, last } : { page };
}
