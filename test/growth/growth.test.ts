import { expect, test } from "vitest";
import { runGrowth } from "./growth.ts";

test("sessions that began, advanced and expired leave the tables as small as before", async () => {
  const growth = await runGrowth(40_000);
  expect(growth.bytesPerSession).toBeGreaterThan(600);
  expect(growth.droppedPartitions).toBeGreaterThan(0);
  expect(growth.bytesAfter).toBe(growth.bytesBefore);
});
