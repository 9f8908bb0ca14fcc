import { expect, test } from "vitest";
import { crossings } from "./crossing.ts";

const line = (values: Record<number, number>) =>
  Object.entries(values).map(([at, value]) => ({ at: Number(at), value }));

test("log-interpolated lines cross where their ratio is one", () => {
  const flat = line({ 100: 10, 10000: 10 });
  const rising = line({ 100: 1, 10000: 100 });
  const here = expect.closeTo(1000);
  expect(crossings(rising, flat)).toEqual([{ at: here, isDearerAfter: true }]);
  expect(crossings(flat, rising)).toEqual([{ at: here, isDearerAfter: false }]);
});

test("lines without a crossing or common sizes have none", () => {
  expect(crossings(line({ 1: 1, 2: 2 }), line({ 1: 2, 2: 3 }))).toEqual([]);
  expect(crossings(line({ 1: 1, 2: 2 }), line({ 3: 1, 4: 1 }))).toEqual([]);
});
