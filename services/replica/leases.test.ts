import { beforeEach, expect, test } from "vitest";
import { Leases } from "./leases.ts";

let said: boolean[];
let leases: Leases;
beforeEach(() => {
  said = [];
  leases = new Leases((areHeld) => said.push(areHeld));
});

test("serves once ready, and only while it holds every lease", () => {
  const [one, other] = [leases.changedOf("checkout"), leases.changedOf("session")];
  one(true);
  other(true);
  expect(said).toEqual([]);
  leases.ready();
  one(false);
  other(false);
  one(true);
  other(true);
  expect(said).toEqual([true, false, false, false, true]);
});

test("does not serve when a lease expired before it is ready", () => {
  leases.changedOf("checkout")(false);
  leases.ready();
  expect(said).toEqual([false]);
});

test("never serves again once stopped", () => {
  leases.ready();
  leases.stop();
  leases.changedOf("checkout")(true);
  leases.ready();
  expect(said).toEqual([true, false]);
});

test("names every process differently", () => {
  expect(new Leases(() => {}).holder).not.toBe(leases.holder);
});
