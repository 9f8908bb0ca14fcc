import { beforeEach, expect, test } from "vitest";
import { Leases } from "./leases.ts";

let said: boolean[];
let leases: Leases;
beforeEach(() => {
  said = [];
  leases = new Leases((areHeld) => said.push(areHeld));
});

test("a replica serves once it is ready, and only while it holds every lease", () => {
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

test("a lease that has run out before the replica is ready keeps it from serving", () => {
  leases.changedOf("checkout")(false);
  leases.ready();
  expect(said).toEqual([false]);
});

test("a replica that stops serves no more, whatever becomes of its leases", () => {
  leases.ready();
  leases.stop();
  leases.changedOf("checkout")(true);
  leases.ready();
  expect(said).toEqual([true, false]);
});

test("no two processes have the same name", () => {
  expect(new Leases(() => {}).holder).not.toBe(leases.holder);
});
