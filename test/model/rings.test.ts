import { expect, test } from "vitest";
import { seededRandom } from "../support/random.ts";
import { explore } from "./explore.ts";
import { begin, broken, NO_FAULTS, next, PROTOCOL, TERMS, type World } from "./ringModel.ts";

test.each([
  ["a rotation and a clock jump", { ...NO_FAULTS, rotations: 1, jumps: 1 }],
  ["a key's destruction", { ...NO_FAULTS, destructions: 1 }],
  ["two replicas crash", { ...NO_FAULTS, crashes: 2 }],
])(
  "every interleaving keeps the invariants: %s",
  (_name, left) => {
    const { way, states } = explore(begin(PROTOCOL, left), PROTOCOL);
    expect(way).toEqual([]);
    expect(states).toBeGreaterThan(100_000);
  },
  240_000,
);

test("random rotations leave no sealing replica without keys", () => {
  const random = seededRandom();
  const often = 1e9;
  const left = { rotations: often, destructions: often, crashes: often, jumps: 0 };
  const protocol = { ...PROTOCOL, terms: { ...TERMS, keepS: 50 } };
  let world: World = begin(protocol, left);
  const done = new Map<string, number>();
  for (let steps = 0; (done.get("the ring is rotated") ?? 0) < 10_000; steps += 1) {
    const choices = next(world, protocol).filter(
      // Faults are rarer than other steps.
      ([what]) => !/killed|gives|lost|destroyed/.test(what) || random.below(20) === 0,
    );
    const [what, to] = choices[random.below(choices.length)]!;
    const kind = what.replace(/^k?\d+ | (of |having )?k?\d+/g, "");
    done.set(kind, (done.get(kind) ?? 0) + 1);
    world = to;
    const wrong = broken(world, protocol);
    if (wrong.length > 0) throw new Error(`after ${steps} steps: ${wrong.join(", ")}`);
  }
  expect(done.get("is destroyed")).toBeGreaterThan(100);
  expect(done.get("is killed")).toBeGreaterThan(100);
}, 240_000);
