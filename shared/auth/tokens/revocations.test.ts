import { beforeEach, expect, test } from "vitest";
import type { Revocation } from "../../../proto/gen/waybill/keys/v1/keys.ts";
import type { Clocks, Moment } from "../../runtime/clocks.ts";
import { Revocations } from "./revocations.ts";

const HOUR_MS = 3_600_000;

let now: Moment;
const clocks: Clocks = { monotonic: () => now.monotonic, wall: () => now.wall };
let revocations: Revocations;
beforeEach(() => {
  now = { monotonic: 1000, wall: 1_800_000_000_000 };
  revocations = new Revocations({ boundMs: 30_000, clocks });
  revocations.fresh(now);
});
/** By both clocks, or by one that was set or stood still. */
const after = (ms: number, wallMs = ms): Moment => ({
  monotonic: now.monotonic + ms,
  wall: now.wall + wallMs,
});
const pass = (ms: number, wallMs = ms) => {
  now = after(ms, wallMs);
};

const entry = (target: Revocation["target"], ttlS = 100): Revocation => ({
  id: Buffer.alloc(16),
  target,
  ttl: { seconds: BigInt(ttlS), nanos: 0 },
});
let number = 0n;
function apply(...entries: Revocation[]): boolean {
  const afterNumber = revocations.number;
  number = afterNumber + BigInt(entries.length);
  return revocations.apply({ afterNumber, number, revocations: entries });
}
const TOKEN = { subject: "users/a", epoch: 5, family: "f", token: "t", session: "s" };

test("each kind of entry hits what it names, and nothing else", () => {
  for (const [target, other] of [
    [{ $case: "family", value: "f" }, { family: "g" }],
    [{ $case: "token", value: "t" }, { token: "u" }],
    [{ $case: "session", value: { id: "s", owner: "users/a" } }, { session: "r" }],
    [{ $case: "subjectEpoch", value: { subject: "users/a", epoch: 6 } }, { subject: "users/b" }],
  ] as const) {
    revocations = new Revocations({ clocks });
    expect(revocations.has(TOKEN)).toBe(false);
    apply(entry(target));
    expect(revocations.has(TOKEN)).toBe(true);
    expect(revocations.has({ ...TOKEN, ...other })).toBe(false);
  }
  // A family is no token, though they be called alike.
  apply(entry({ $case: "token", value: "x" }));
  expect(revocations.has({ subject: "users/z", epoch: 1, family: "x" })).toBe(false);
});

test("an epoch hits what is older, and never goes back", () => {
  const at = (epoch: number) =>
    entry({ $case: "subjectEpoch", value: { subject: "users/a", epoch } });
  apply(at(6));
  expect(revocations.has({ ...TOKEN, epoch: 6 })).toBe(false);
  apply(at(4));
  expect(revocations.has({ ...TOKEN, epoch: 5 })).toBe(true);
  // A thousand revocations of one owner take the room of one.
  for (let epoch = 7; epoch < 1007; epoch += 1) apply(at(epoch));
  expect(revocations.size).toBe(1);
});

test("a piece with a gap before it is not taken, and one that overlaps is", () => {
  apply(entry({ $case: "family", value: "a" }), entry({ $case: "family", value: "b" }));
  const gap = {
    afterNumber: 3n,
    number: 4n,
    revocations: [entry({ $case: "family", value: "f" })],
  };
  expect(revocations.apply(gap)).toBe(false);
  expect(revocations.has(TOKEN)).toBe(false);
  expect(revocations.number).toBe(2n);
  expect(revocations.apply({ ...gap, afterNumber: 0n })).toBe(true);
  expect(revocations.has(TOKEN)).toBe(true);
  expect(revocations.number).toBe(4n);
  // A newer entry that arrives first is not undone.
  expect(revocations.apply({ afterNumber: 0n, number: 2n, revocations: [] })).toBe(true);
  expect(revocations.number).toBe(4n);
});

test("X4 past its bound it fails closed, counted from when the question was sent", () => {
  pass(30_000);
  revocations.assertFresh();
  pass(1);
  expect(() => revocations.assertFresh()).toThrow("revocations is stale");
  // The answer to a question that was sent long ago says nothing of now.
  revocations.fresh(after(-30_001));
  expect(() => revocations.assertFresh()).toThrow("revocations is stale");
  revocations.fresh(now);
  revocations.assertFresh();
  // Nor does it take anything back.
  revocations.fresh(after(-30_001));
  revocations.assertFresh();
  expect(() => new Revocations().assertFresh()).toThrow("revocations is stale");
});

test("X4 a machine that has slept does not take an old feed for fresh: the wall clock counts, too", () => {
  pass(0, HOUR_MS);
  expect(() => revocations.assertFresh()).toThrow("revocations is stale");
  // Nor the answer to a question that it sent before it slept.
  revocations.fresh(after(1, -HOUR_MS));
  expect(() => revocations.assertFresh()).toThrow("revocations is stale");
  revocations.fresh(after(2));
  revocations.assertFresh();
});

test("X4 a wall clock that was set back makes nothing fresh, and nothing stale", () => {
  pass(30_000, -HOUR_MS);
  revocations.assertFresh();
  pass(1);
  expect(() => revocations.assertFresh()).toThrow("revocations is stale");
  // Later checks use the clock after its step.
  revocations.fresh(now);
  pass(0, 30_001);
  expect(() => revocations.assertFresh()).toThrow("revocations is stale");
});

test("an entry is dropped when nothing that it hits can be alive, and not before", () => {
  apply(entry({ $case: "family", value: "f" }, 100), entry({ $case: "token", value: "y" }, 1000));
  pass(100_000);
  apply();
  expect(revocations.has(TOKEN)).toBe(true);
  pass(61_000);
  apply();
  expect(revocations.has(TOKEN)).toBe(false);
  expect(revocations.size).toBe(1);
});

test("past so many entries it fails closed, and so it does with one that it does not understand", () => {
  revocations = new Revocations({ maxEntries: 2, clocks });
  revocations.fresh(now);
  apply(entry({ $case: "family", value: "a" }), entry({ $case: "family", value: "b" }));
  revocations.assertFresh();
  apply(entry({ $case: "family", value: "c" }));
  expect(() => revocations.assertFresh()).toThrow("revocations is stale");
  revocations = new Revocations({ clocks });
  apply(entry(undefined));
  revocations.fresh(now);
  expect(() => revocations.assertFresh()).toThrow("revocations is stale");
});
