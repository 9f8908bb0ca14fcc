import { expect, test } from "vitest";
import { runRotations } from "./rotations.ts";

test("forty rotations during kills lose no waybill's key", async () => {
  const { keys, kills, refused } = await runRotations(40);
  expect(kills).toBe(2);
  expect(keys).toBeGreaterThanOrEqual(40);
  expect(refused).toEqual({});
});
