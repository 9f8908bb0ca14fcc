import { broken, nameOf, next, type Protocol, type World } from "./ringModel.ts";

/** The result of a search. */
export interface Found {
  readonly states: number;
  /** A violated invariant. */
  readonly broken: string | undefined;
  /** The steps that lead to it. */
  readonly way: string[];
}

/** The goal of a search, and its progress callback. */
export interface ExploreOptions {
  /** Text of the violation to find; others are ignored. Default: any. */
  wanted?: string;
  /** Receives the progress, every five seconds. */
  tell?(line: string): void;
}

/** Explores every reachable state, breadth first, until an invariant is violated. */
export function explore(
  first: World,
  protocol: Protocol,
  { wanted = "", tell = () => {} }: ExploreOptions = {},
): Found {
  // By number: the predecessor of a state, and the step from it.
  const from: number[] = [-1];
  const steps: string[] = [""];
  const wayTo = (number: number): string[] =>
    number === 0 ? [] : [...wayTo(from[number]!), steps[number]!];
  const seen = new Set([nameOf(first, protocol)]);
  let layer = [{ world: first, number: 0 }];
  let told = Date.now();
  for (let depth = 1; layer.length > 0; depth += 1) {
    const following: typeof layer = [];
    for (const node of layer) {
      for (const [what, world] of next(node.world, protocol)) {
        const name = nameOf(world, protocol);
        if (seen.has(name)) continue;
        seen.add(name);
        const number = from.push(node.number) - 1;
        steps.push(what);
        const wrong = broken(world, protocol).find((each) => each.includes(wanted));
        if (wrong !== undefined) return { states: seen.size, broken: wrong, way: wayTo(number) };
        following.push({ world, number });
      }
      if (Date.now() - told < 5000) continue;
      told = Date.now();
      tell(`${seen.size} states, ${depth} steps from the first`);
    }
    layer = following;
  }
  return { states: seen.size, broken: undefined, way: [] };
}
