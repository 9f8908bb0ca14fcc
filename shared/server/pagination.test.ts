import { expect, test } from "vitest";
import { cutPage, pageSize } from "./pagination.ts";

test("a page holds 25 where none is asked for, and a hundred at most", () => {
  expect([0, 1, 100, 101].map(pageSize)).toEqual([25, 1, 100, 100]);
});

test("a page has a last row only where another one comes after it", () => {
  expect(cutPage([1, 2, 3], 2)).toEqual({ page: [1, 2], last: 2 });
  expect(cutPage([1, 2], 2)).toEqual({ page: [1, 2] });
  expect(cutPage([1], 2)).toEqual({ page: [1] });
  expect(cutPage([], 2)).toEqual({ page: [] });
});
