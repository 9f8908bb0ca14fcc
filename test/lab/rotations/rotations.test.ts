import { expect, test } from "vitest";
import { runRotations } from "./rotations.ts";

test("forty rotations beside calls and kills: no waybill's key is ever not found", async () => {
  const { keys, kills, refused } = await runRotations(40);
  expect(kills).toBe(2);
  expect(keys).toBeGreaterThanOrEqual(40);
  expect(refused).toEqual({});
});
