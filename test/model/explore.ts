import { broken, nameOf, next, type Protocol, type World } from "./ringModel.ts";

/** The reachable states. */
export interface Found {
  readonly states: number;
  /** A violated invariant. */
  readonly broken: string | undefined;
  /** How it came to it. */
  readonly way: string[];
}

/** Search options. */
export interface ExploreOptions {
  /** Looks only for violations whose text contains this. Default: any violation. */
  wanted?: string;
  /** Hears of the progress, every five seconds. */
  tell?(line: string): void;
}

/** Looks at every state that can be reached, the nearest first, until something does not hold. */
export function explore(
  first: World,
  protocol: Protocol,
  { wanted = "", tell = () => {} }: ExploreOptions = {},
): Found {
  // By number: the state that it was reached from, and how.
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
