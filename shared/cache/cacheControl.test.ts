import { Metadata } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { ageOf, directivesOf, lifetimeOf } from "./cacheControl.ts";
import { changeIn } from "./changeNumbers.ts";

function metadata(key: string, ...values: string[]): Metadata {
  const made = new Metadata();
  for (const value of values) made.add(key, value);
  return made;
}
const control = (...values: string[]) => metadata("cache-control", ...values);

test("parses directives of any case, from several values", () => {
  expect([...directivesOf(control("Public, MAX-AGE=60", "no-cache,, "))]).toEqual([
    ["public", ""],
    ["max-age", "60"],
    ["no-cache", ""],
  ]);
});

test("reads a lifetime in whole seconds only", () => {
  expect(lifetimeOf(control("max-age=60"))).toEqual({ maxAgeMs: 60_000, staleMs: 0 });
  const both = control("private, max-age=0, stale-while-revalidate=5");
  expect(lifetimeOf(both)).toEqual({ maxAgeMs: 0, staleMs: 5000 });
  for (const none of ["", "public", "max-age", "max-age=x", "max-age=-1", "max-age=1, no-store"]) {
    expect(lifetimeOf(control(none)), none).toBeUndefined();
  }
});

test("treats a malformed age as infinite", () => {
  expect(ageOf(new Metadata())).toBe(0);
  expect(ageOf(metadata("age", "7"))).toBe(7000);
  for (const bad of ["", "x", "-1", "1.5"]) expect(ageOf(metadata("age", bad))).toBe(Infinity);
});

test("uses the newest change; a malformed one is above all", () => {
  expect(changeIn(new Metadata())).toBe(0n);
  expect(changeIn(metadata("change", "7", "3"))).toBe(7n);
  for (const bad of ["", "x", "-1", "9".repeat(20)]) {
    expect(changeIn(metadata("change", bad))).toBe(2n ** 64n);
  }
});
