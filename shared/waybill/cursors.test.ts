import { expect, test } from "vitest";
import { makeRingSource } from "../../test/support/rings.ts";
import { Cursors, cutPage, pageSize } from "./cursors.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
const METHOD = "/a.v1.A/List";
const QUESTION = Buffer.from("filter");
const POSITION = Buffer.from("after this");
const invalid = expect.objectContaining({ reason: "PAGE_TOKEN_INVALID" });

function setUp() {
  const clock = { now: 1_800_000_000_000 };
  const ring = makeRingSource("a");
  return { clock, cursors: new Cursors("a", ring, () => clock.now), ring };
}

test("a page token brings back its position to the same method and question alone", async () => {
  const { cursors } = setUp();
  const token = cursors.seal(METHOD, QUESTION, POSITION);
  expect(await cursors.open(METHOD, QUESTION, token)).toEqual(POSITION);
  await expect(cursors.open("/a.v1.A/Other", QUESTION, token)).rejects.toThrow(invalid);
  await expect(cursors.open(METHOD, Buffer.from("other"), token)).rejects.toThrow(invalid);
  await expect(cursors.open(METHOD, QUESTION, `${token}A`)).rejects.toThrow(invalid);
  await expect(cursors.open(METHOD, QUESTION, "")).rejects.toThrow(invalid);
});

test("it lives a day, to the second", async () => {
  const { cursors, clock } = setUp();
  const token = cursors.seal(METHOD, QUESTION, POSITION);
  clock.now += DAY_MS - 1;
  expect(await cursors.open(METHOD, QUESTION, token)).toEqual(POSITION);
  clock.now += 1;
  await expect(cursors.open(METHOD, QUESTION, token)).rejects.toThrow(invalid);
});

test("one that is longer than 2,048 characters is not looked at", async () => {
  const { cursors } = setUp();
  const tokenOf = (bytes: number) => cursors.seal(METHOD, QUESTION, Buffer.alloc(bytes));
  let bytes = 1000;
  while (tokenOf(bytes + 1).length <= 2048) bytes += 1;
  expect(await cursors.open(METHOD, QUESTION, tokenOf(bytes))).toHaveLength(bytes);
  await expect(cursors.open(METHOD, QUESTION, tokenOf(bytes + 1))).rejects.toThrow(invalid);
});

test("a page has 25 items by default and at most 100", () => {
  expect([0, 1, 100, 101].map(pageSize)).toEqual([25, 1, 100, 100]);
});

test("returns the last row only if another page follows", () => {
  expect(cutPage([1, 2, 3], 2)).toEqual({ page: [1, 2], last: 2 });
  expect(cutPage([1, 2], 2)).toEqual({ page: [1, 2] });
  expect(cutPage([1], 2)).toEqual({ page: [1] });
  expect(cutPage([], 2)).toEqual({ page: [] });
});
