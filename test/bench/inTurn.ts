import type { Bench } from "./bench.ts";

/** Figures of each round, by measure. */
export type Rounds = Record<string, number[]>;

/**
 * Measures all in turn, round by round, so that what else the machine does meets all alike. Each round
 * begins with another, so that none always comes after the same.
 *
 * @param passes a round's figures are the means of so many runs, made in turn to and fro: the closer those
 *   that are compared come after one another, the more has met both. Default: 1
 */
export async function inTurn<Each extends { readonly name: string }>(
  bench: Bench,
  what: string,
  contenders: readonly Each[],
  measure: (contender: Each) => Promise<Record<string, number>>,
  passes = 1,
): Promise<Map<string, Rounds>> {
  const found = new Map<string, Rounds>(contenders.map(({ name }) => [name, {}]));
  for (let round = 1; round <= bench.rounds; round += 1) {
    const first = (round - 1) % contenders.length;
    const order = [...contenders.slice(first), ...contenders.slice(0, first)];
    const runs = new Map(contenders.map(({ name }) => [name, {} as Rounds]));
    for (let pass = 1; pass <= passes; pass += 1) {
      for (const each of pass % 2 === 1 ? order : order.toReversed()) {
        const part = passes === 1 ? "" : `, ${pass} of ${passes}`;
        bench.step(`${what}${each.name}${part}`, round);
        addTo(runs.get(each.name)!, await measure(each));
      }
    }
    for (const [name, each] of runs) {
      const means = Object.entries(each).map(([measured, all]) => [measured, mean(all)]);
      addTo(found.get(name)!, Object.fromEntries(means));
    }
  }
  return found;
}

function addTo(rounds: Rounds, figures: Record<string, number>): void {
  for (const [name, figure] of Object.entries(figures)) {
    rounds[name] = [...(rounds[name] ?? []), figure];
  }
}

function mean(figures: readonly number[]): number {
  return figures.reduce((sum, each) => sum + each, 0) / figures.length;
}
