import { expect, test } from "vitest";
import { makeRing } from "../../test/support/rings.ts";
import { drop, isLeased, NOTHING, take } from "./holding.ts";

const HOUR_MS = 3_600_000;
const LEASE_MS = 30_000;
const WALL = 1_800_000_000_000;
const grant = { ring: makeRing("a"), durationMs: LEASE_MS, revision: 1 };

test("both clocks count from one grant: after the wall clock was set back, a sleep still ends the lease", () => {
  let holding = take(NOTHING, grant, { monotonic: 0, wall: WALL });
  const setBack = WALL - HOUR_MS;
  holding = take(holding, grant, { monotonic: 10_000, wall: setBack + 10_000 });
  expect(isLeased(holding, { monotonic: 10_000, wall: setBack + 10_000 })).toBe(true);
  // The monotonic clock stands still while the machine sleeps.
  const awake = { monotonic: 10_000, wall: setBack + 10_000 + LEASE_MS };
  expect(isLeased(holding, awake)).toBe(false);
});

test("a grant that comes after a later one takes nothing back, and none goes on after it was given back", () => {
  const later = take(NOTHING, { ...grant, revision: 2 }, { monotonic: 5000, wall: WALL + 5000 });
  expect(take(later, grant, { monotonic: 0, wall: WALL })).toEqual(later);
  expect(isLeased(drop(later), { monotonic: 5000, wall: WALL + 5000 })).toBe(false);
});
