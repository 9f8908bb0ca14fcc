import { describe, expect, test } from "vitest";
import * as transitions from "../../services/keys/transitions.ts";
import { seededRandom } from "../fixtures/random.ts";
import { explore } from "./explore.ts";
import {
  begin,
  broken,
  next,
  PROTOCOL,
  type Protocol,
  TERMS,
  type World,
  warm,
} from "./ringModel.ts";

const NONE = { rotations: 0, destructions: 0, crashes: 0, jumps: 0 };

test.each([
  ["a rotation, and a jump of the clock", { ...NONE, rotations: 1, jumps: 1 }],
  ["a key's destruction", { ...NONE, destructions: 1 }],
  ["two replicas' ends", { ...NONE, crashes: 2 }],
])(
  "in every order of everything that may happen all holds: %s",
  (_name, left) => {
    const { way, states } = explore(begin(PROTOCOL, left), PROTOCOL);
    expect(way).toEqual([]);
    expect(states).toBeGreaterThan(100_000);
  },
  240_000,
);

describe("a protocol that is broken is found out", () => {
  const { rotate, grant } = transitions;
  /** What a ring would be with one key standing by, and not two. */
  const withOne = (ring: transitions.RingState): transitions.RingState => {
    const first = ring.keys.find(({ state }) => state === "pending");
    return { ...ring, keys: ring.keys.filter((key) => key === first || key.state !== "pending") };
  };
  const rotateOne: Protocol["rotate"] = (ring, now, _terms, makeId) => {
    if (transitions.waitedFor(ring, now).length > 0) return ring;
    const retired = { state: "retired", openUntil: now + 1000 } as const;
    const keys = ring.keys.map((key) => (key.state === "active" ? { ...key, ...retired } : key));
    return withOne(transitions.mend({ ...ring, keys }, now, makeId));
  };
  const isHolding: Protocol["isLeased"] = ({ ring }) => ring !== undefined;

  test.each<[name: string, Partial<Protocol>, Partial<typeof NONE>, wanted: string]>([
    [
      "a key seals before it is acknowledged",
      {
        rotate: (ring, ...rest) => {
          const { leases } = ring;
          return { ...rotate({ ...ring, leases: [] }, ...rest), leases };
        },
      },
      { rotations: 3 },
      "lacks it",
    ],
    [
      "a renewal counts as the acknowledgement of what its answer carries",
      {
        grant: (ring, asked, ...rest) =>
          grant(ring, { ...asked, acknowledged: ring.version }, ...rest),
      },
      { rotations: 4 },
      "lacks it",
    ],
    [
      "a lease counts from when it came in",
      { countsFromArrival: true },
      { rotations: 1 },
      "outlives it",
    ],
    [
      "a grant reads the ring before it locks it",
      { readsBeforeLock: true },
      { rotations: 3 },
      "lacks it",
    ],
    ["who has no lease any more seals", { isLeased: isHolding }, { rotations: 1 }, "outlives it"],
    [
      "a key is kept no longer than what it has sealed by then",
      {
        rotate: (ring, now, terms, makeId) =>
          rotate(ring, now, { ...terms, leaseS: 0, graceS: 0 }, makeId),
      },
      { rotations: 1 },
      "outlives it",
    ],
    [
      "who gives a lease back goes on with it",
      { goesOnAfterRelease: true },
      { rotations: 3, crashes: 1 },
      "lacks it",
    ],
    [
      "a lease is kept no longer than its holder has it, and clocks jump",
      { terms: { ...TERMS, graceS: 0 } },
      { rotations: 3, jumps: 1 },
      "lacks it",
    ],
    [
      "one key stands by",
      {
        mend: (...given) => withOne(transitions.mend(...given)),
        grant: (...given) => withOne(grant(...given)),
        rotate: rotateOne,
      },
      { rotations: 1 },
      "no acknowledged key stands by",
    ],
  ])(
    "%s",
    (_name, change, left, wanted) => {
      const protocol = { ...PROTOCOL, ...change };
      const first = warm(begin(protocol, { ...NONE, ...left }), protocol);
      const found = explore(first, protocol, { wanted });
      expect(found.broken).toContain(wanted);
    },
    240_000,
  );
});

test("10,000 rotations with every fault at any time: no replica that seals ever lacks a key", () => {
  const random = seededRandom();
  const often = 1e9;
  const left = { rotations: often, destructions: often, crashes: often, jumps: 0 };
  const protocol = { ...PROTOCOL, terms: { ...TERMS, keepS: 50 } };
  let world: World = begin(protocol, left);
  const done = new Map<string, number>();
  for (let steps = 0; (done.get("the ring is rotated") ?? 0) < 10_000; steps += 1) {
    const choices = next(world, protocol).filter(
      // Faults come now and then.
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
