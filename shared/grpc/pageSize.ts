const DEFAULT = 25;
const MAX = 100;

/** How many items a page has (AIP-158): 25 where the request names none, and never more than 100. */
export function pageSize(asked: number): number {
  return asked === 0 ? DEFAULT : Math.min(asked, MAX);
}
