import { randomBytes, randomFillSync } from "node:crypto";
import { expect, test, vi } from "vitest";
import { Entropy } from "./entropy.ts";

/** The generator in the process's memory: after a restored snapshot it makes the same in every copy. */
vi.mock("node:crypto", async (original) => ({
  ...(await original<typeof import("node:crypto")>()),
  randomFillSync: (bytes: Uint8Array) => bytes.fill(7),
  randomBytes: (size: number) => Buffer.alloc(size, 7),
}));

/** A pool as a copy of the process has it, and its clocks. */
function makeClone() {
  const now = { wall: 1_800_000_000_000, monotonic: 5000 };
  const clocks = { wall: () => now.wall, monotonic: () => now.monotonic };
  return { now, entropy: new Entropy(() => {}, clocks) };
}

test("K2 clones whose generator makes the same bytes take none in common once the clocks have parted", () => {
  expect(randomBytes(32)).toEqual(randomBytes(32));
  expect(randomFillSync(Buffer.alloc(32))).toEqual(randomBytes(32));
  const taken = [makeClone(), makeClone()].flatMap(({ now, entropy }) => {
    entropy.take(12);
    now.wall += 1001;
    entropy.check();
    return Array.from({ length: 600 }, () => entropy.take(12).toString("hex"));
  });
  expect(new Set(taken).size).toBe(1200);
});
