import { expect, test } from "vitest";
import { runGrowth } from "./growth.ts";

const TABLES = ["anchor", "advance", "directory", "spill", "checkpoint"];

test("expired sessions leave the tables as small as before", async () => {
  const growth = await runGrowth(40_000);
  expect(growth.bytesPerSession).toBeGreaterThan(600);
  expect(growth.droppedPartitions).toBeGreaterThan(0);
  const { tables, kept, looks } = growth;
  expect(Object.keys(tables).sort()).toEqual(TABLES.map((name) => `session.${name}`).sort());
  for (const [name, { before, most, after }] of Object.entries(tables)) {
    expect(most, name).toBeGreaterThan(before);
    expect(after, name).toBe(before);
  }
  expect(growth.rowsLeft).toBe(0);
  expect(kept).toEqual({ made: 300, left: 0 });
  expect(looks.lost).toBe(0);
  // Each is read repeatedly in its life.
  expect(looks.found).toBeGreaterThan(2 * kept.made);
});
