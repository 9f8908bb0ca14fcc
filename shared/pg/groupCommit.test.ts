import { expect, test } from "vitest";
import { GroupCommit } from "./groupCommit.ts";

test("what comes in while a group is under way makes up the next, and each gets its own result", async () => {
  const groups: number[][] = [];
  const doubled = new GroupCommit<number, number>(async (items) => {
    groups.push(items);
    return items.map((item) => item * 2);
  }, 3);
  const results = await Promise.all([1, 2, 3, 4, 5].map((item) => doubled.add(item)));
  expect(results).toEqual([2, 4, 6, 8, 10]);
  expect(groups).toEqual([
    [1, 2, 3],
    [4, 5],
  ]);
  expect(await doubled.add(6)).toBe(12);
});

test("one that fails fails alone", async () => {
  let runs = 0;
  const picky = new GroupCommit<number, number>(async (items) => {
    runs += 1;
    if (items.includes(2)) throw new Error("two");
    return items;
  });
  const settled = await Promise.allSettled([1, 2, 3].map((item) => picky.add(item)));
  expect(settled.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  expect(runs).toBe(4);
  await expect(picky.add(2)).rejects.toThrow("two");
  expect(await picky.add(4)).toBe(4);
});

test("when the database is away, those that wait fail at once, and those that come later do not", async () => {
  const gate = Promise.withResolvers<void>();
  const { promise: began, resolve: begin } = Promise.withResolvers<void>();
  let runs = 0;
  const away = new GroupCommit<number, number>(async (items) => {
    runs += 1;
    begin();
    await gate.promise;
    if (runs > 1) return items;
    throw Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" });
  }, 1);
  const given = [1, 2, 3].map((item) => away.add(item));
  await began;
  given.push(away.add(4));
  gate.resolve();
  const settled = await Promise.allSettled(given);
  expect(settled.map(({ status }) => status)).toEqual(Array(4).fill("rejected"));
  expect(runs).toBe(1);
  expect(await away.add(5)).toBe(5);
});

test("when the database is away, that is for all of a group: none is tried alone", async () => {
  let runs = 0;
  const away = new GroupCommit<number, number>(async () => {
    runs += 1;
    throw Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });
  });
  const settled = await Promise.allSettled([1, 2, 3].map((item) => away.add(item)));
  expect(settled.map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
  expect(runs).toBe(1);
});
