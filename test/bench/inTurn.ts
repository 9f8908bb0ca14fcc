import type { Bench } from "./bench.ts";

/** Figures of each round, by measure. */
export type Rounds = Record<string, number[]>;

/**
 * Measures all in turn, round by round, so that what else the machine does meets all alike. Each round
 * begins with another, so that none always comes after the same.
 */
export async function inTurn<Each extends { readonly name: string }>(
  bench: Bench,
  what: string,
  contenders: readonly Each[],
  measure: (contender: Each) => Promise<Record<string, number>>,
): Promise<Map<string, Rounds>> {
  const found = new Map<string, Rounds>(contenders.map(({ name }) => [name, {}]));
  for (let round = 1; round <= bench.rounds; round += 1) {
    const first = (round - 1) % contenders.length;
    for (const each of [...contenders.slice(first), ...contenders.slice(0, first)]) {
      bench.step(`${what}${each.name}`, round);
      const rounds = found.get(each.name)!;
      for (const [name, figure] of Object.entries(await measure(each))) {
        rounds[name] = [...(rounds[name] ?? []), figure];
      }
    }
  }
  return found;
}
