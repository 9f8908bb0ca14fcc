import type { Bench } from "./bench.ts";

/** Figures of each round, by measure. */
export type Rounds = Record<string, number[]>;

type Measured = Record<string, number>;

/**
 * Measures all contenders alternately, round by round, so that disturbances affect all alike. Each round
 * starts with a different contender, so that none always follows the same one.
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
 * Runs one round.
 *
 * @param passes number of runs per figure, in alternating order; the figure is their mean. Contenders that
 *     run closer together share more disturbances. Default: 1
 * @param found receives the figures
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
