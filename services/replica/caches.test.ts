import { expect, test } from "vitest";
import type { ResponseCache } from "waybill";
import { cacheOf } from "./caches.ts";
import type { Role } from "./config.ts";

/** Has many answers kept. @returns the memory that they take */
async function fill(cache: ResponseCache): Promise<number> {
  const lifetime = { maxAgeMs: 60_000, staleMs: 0 };
  const bytes = Buffer.alloc(1000);
  const rest = { etag: "", cacheControl: "", resources: undefined, position: 0n, ageMs: 0 };
  const fetch = async () => ({ response: { bytes, lifetime, ...rest }, isShared: true });
  for (let at = 0; at < 100; at += 1) {
    const lookup = { key: `${at}`, needs: 0n, position: 0n, signal: () => undefined };
    await cache.scope("a.B").get({ ...lookup, fetch, refresh: () => undefined });
  }
  return cache.stats.bytes;
}

test.each<[Role[], Role, number]>([
  [["catalog", "checkout", "token"], "catalog", 50_000],
  [["catalog", "checkout", "token"], "checkout", 50_000],
  [["catalog", "token"], "catalog", 100_000],
  [["checkout"], "checkout", 100_000],
])("of %s, %s keeps answers of its own, in no more than %i bytes", async (roles, role, most) => {
  const bytes = await fill(cacheOf({ roles, cacheBytes: 100_000 }, role)!);
  expect(bytes).toBeLessThanOrEqual(most);
  expect(bytes).toBeGreaterThan(most * 0.9);
});

test("who serves nothing that is kept, or is to keep nothing, has no cache", () => {
  expect(cacheOf({ roles: ["token"], cacheBytes: 100_000 }, "token")).toBeUndefined();
  expect(cacheOf({ roles: ["catalog"], cacheBytes: 0 }, "catalog")).toBeUndefined();
});
