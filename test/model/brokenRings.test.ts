import { describe, expect, test } from "vitest";
import * as transitions from "../../services/keys/rings/transitions.ts";
import { explore } from "./explore.ts";
import { begin, NO_FAULTS, PROTOCOL, type Protocol, TERMS, warm } from "./ringModel.ts";

describe("detects a broken protocol", () => {
  const { rotate, grant } = transitions;
  /** Keeps one pending key in the ring instead of two. */
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

  test.each<[name: string, Partial<Protocol>, Partial<typeof NO_FAULTS>, wanted: string]>([
    [
      "a key seals before acknowledgement",
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
      "a renewal acknowledges the ring in its response",
      {
        grant: (ring, asked, ...rest) =>
          grant(ring, { ...asked, acknowledged: ring.version }, ...rest),
      },
      { rotations: 4 },
      "lacks it",
    ],
    [
      "a lease counts from its arrival",
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
    ["a replica without a lease seals", { isLeased: isHolding }, { rotations: 1 }, "outlives it"],
    [
      "a key expires before its last waybills",
      {
        rotate: (ring, now, terms, makeId) =>
          rotate(ring, now, { ...terms, leaseS: 0, graceS: 0 }, makeId),
      },
      { rotations: 1 },
      "outlives it",
    ],
    [
      "a replica seals after it released its lease",
      { goesOnAfterRelease: true },
      { rotations: 3, crashes: 1 },
      "lacks it",
    ],
    [
      "leases have no grace period for clock jumps",
      { terms: { ...TERMS, graceS: 0 } },
      { rotations: 3, jumps: 1 },
      "lacks it",
    ],
    [
      "a ring has one standby key",
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
      const first = warm(begin(protocol, { ...NO_FAULTS, ...left }), protocol);
      const found = explore(first, protocol, { wanted });
      expect(found.broken).toContain(wanted);
    },
    240_000,
  );
});
