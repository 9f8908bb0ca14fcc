import type { Bench } from "./bench.ts";

/** Figures of each round, by measure. */
export type Rounds = Record<string, number[]>;

type Measured = Record<string, number>;

/**
 * Measures all in turn, round by round, so that what else the machine does meets all alike. Each round
 * begins with another, so that none always comes after the same.
 */
export async function inTurn<Each extends { readonly name: string }>(
  bench: Bench,
  what: string,
  contenders: readonly Each[],
  measure: (contender: Each) => Promise<Measured>,
): Promise<Map<string, Rounds>> {
  const found = new Map<string, Rounds>();
  for (let round = 1; round <= bench.rounds; round += 1) {
    await oneRound(bench, { what, round }, contenders, measure, found);
  }
  return found;
}

/**
 * One of those rounds.
 *
 * @param passes its figures are the means of so many runs, made in turn to and fro: the closer those that
 *   are compared come after one another, the more has met both. Default: 1
 * @param found gets its figures
 */
export async function oneRound<Each extends { readonly name: string }>(
  bench: Bench,
  { what, round, passes = 1 }: { what: string; round: number; passes?: number },
  contenders: readonly Each[],
  measure: (contender: Each) => Promise<Measured>,
  found: Map<string, Rounds>,
): Promise<void> {
  const first = (round - 1) % contenders.length;
  const order = [...contenders.slice(first), ...contenders.slice(0, first)];
  const runs = new Map<string, Rounds>();
  for (let pass = 1; pass <= passes; pass += 1) {
    for (const each of pass % 2 === 1 ? order : order.toReversed()) {
      const part = passes === 1 ? "" : `, ${pass} of ${passes}`;
      bench.step(`${what}${each.name}${part}`, round);
      add(runs, each.name, await measure(each));
    }
  }
  for (const { name } of contenders) {
    const means = Object.entries(runs.get(name)!).map(([measured, all]) => [measured, mean(all)]);
    add(found, name, Object.fromEntries(means));
  }
}

function add(found: Map<string, Rounds>, name: string, figures: Measured): void {
  const rounds = found.get(name) ?? {};
  found.set(name, rounds);
  for (const [measured, figure] of Object.entries(figures)) {
    rounds[measured] = [...(rounds[measured] ?? []), figure];
  }
}

function mean(figures: readonly number[]): number {
  return figures.reduce((sum, each) => sum + each, 0) / figures.length;
}
