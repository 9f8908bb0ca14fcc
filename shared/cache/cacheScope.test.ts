import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { CacheScope, Fetched, Lookup } from "./cacheScope.ts";
import { type CachedResponse, ResponseCache } from "./responseCache.ts";

let clock: { wall: number; monotonic: number };
let cache: ResponseCache;
let scope: CacheScope;
/** Fetches in flight. */
let fetches: (PromiseWithResolvers<Fetched> & {
  signal: AbortSignal;
  known: CachedResponse | undefined;
})[];

beforeEach(() => {
  clock = { wall: 1000, monotonic: 1000 };
  const clocks = { wall: () => clock.wall, monotonic: () => clock.monotonic };
  cache = new ResponseCache({ maxBytes: 1_000_000, clocks });
  scope = cache.scope("a.B");
  fetches = [];
});

afterEach(() => void vi.useRealTimers());

const later = (ms: number) => {
  clock.wall += ms;
  clock.monotonic += ms;
};
const cached = (text: string, more: Partial<CachedResponse> = {}): CachedResponse => ({
  bytes: Buffer.from(text),
  etag: `"${text}"`,
  cacheControl: "max-age=60",
  lifetime: { maxAgeMs: 60_000, staleMs: 0 },
  resources: ["a"],
  position: scope.position,
  ageMs: 0,
  ...more,
});
const STALE = { lifetime: { maxAgeMs: 60_000, staleMs: 60_000 } };

/** Looks up a response. @returns its text */
async function get(more: Partial<Lookup> = {}): Promise<string> {
  const fetch: Lookup["fetch"] = ({ signal, known }) => {
    const waiting = { ...Promise.withResolvers<Fetched>(), signal, known };
    fetches.push(waiting);
    return waiting.promise;
  };
  const found = await scope.get({
    key: "k",
    needs: 0n,
    position: scope.position,
    signal: () => undefined,
    fetch,
    refresh: () => fetch,
    ...more,
  });
  return found.response.bytes.toString();
}

/** Caches a response. */
async function store(text: string, more: Partial<CachedResponse> = {}): Promise<void> {
  const asked = get();
  fetches.shift()!.resolve({ response: cached(text, more), isShared: true });
  expect(await asked).toBe(text);
}

/** Looks up a response, which must be fetched. */
async function expectFetched(text: string, more: Partial<Lookup> = {}): Promise<void> {
  const asked = get(more);
  expect(fetches).toHaveLength(1);
  fetches.shift()!.resolve({ response: cached(text), isShared: true });
  expect(await asked).toBe(text);
}

test("uses a response until it expires", async () => {
  await store("old", { ageMs: 10_000 });
  later(49_999);
  expect(await get()).toBe("old");
  later(1);
  await expectFetched("new");
  expect(cache.stats).toMatchObject({ hits: 1, stale: 0, misses: 2, entries: 1 });
});

test("ages a response by the clock that advanced further", async () => {
  await store("old");
  clock.wall -= 3_600_000;
  clock.monotonic += 60_000;
  await expectFetched("new");
  clock.wall += 60_000;
  await expectFetched("newer");
});

test("joins concurrent lookups of one key in one fetch", async () => {
  const asked = [get(), get(), get()];
  expect(fetches).toHaveLength(1);
  fetches[0]!.resolve({ response: cached("one"), isShared: true });
  expect(await Promise.all(asked)).toEqual(["one", "one", "one"]);
  // Another key is fetched by itself.
  void get({ key: "other" });
  expect(fetches).toHaveLength(2);
});

test("aborts a fetch when its last waiter cancels", async () => {
  const [one, two] = [new AbortController(), new AbortController()];
  const first = get({ signal: () => one.signal });
  const second = get({ signal: () => two.signal });
  one.abort();
  expect(fetches[0]!.signal.aborted).toBe(false);
  fetches[0]!.resolve({ response: cached("shared"), isShared: true });
  expect(await Promise.all([first, second])).toEqual(["shared", "shared"]);

  const alone = new AbortController();
  const third = get({ key: "other", signal: () => alone.signal });
  alone.abort(new Error("gone"));
  expect(fetches[1]!.signal.aborted).toBe(true);
  // No lookup joins an aborted fetch.
  const fourth = get({ key: "other" });
  expect(fetches).toHaveLength(3);
  fetches[1]!.reject(new Error("gone"));
  await expect(third).rejects.toThrow("gone");
  fetches[2]!.resolve({ response: cached("new"), isShared: true });
  expect(await fourth).toBe("new");
});

test("a cancelled waiter stops waiting at once", async () => {
  const [one, two] = [new AbortController(), new AbortController()];
  const first = get({ signal: () => one.signal });
  const second = get({ signal: () => two.signal });
  two.abort(new Error("two is gone"));
  await expect(second).rejects.toThrow("two is gone");
  // A lookup whose signal is already aborted does not wait either.
  await expect(get({ signal: () => two.signal })).rejects.toThrow("two is gone");
  expect(fetches[0]!.signal.aborted).toBe(false);
  fetches[0]!.resolve({ response: cached("for one"), isShared: true });
  expect(await first).toBe("for one");
});

test("starts another fetch when one is stuck for two seconds", async () => {
  const stuck = get();
  later(1999);
  const joined = get();
  expect(fetches).toHaveLength(1);
  later(1);
  const [one, two] = [get(), get()];
  expect(fetches).toHaveLength(2);
  fetches[1]!.resolve({ response: cached("new"), isShared: true });
  expect(await Promise.all([one, two])).toEqual(["new", "new"]);
  fetches[0]!.resolve({ response: cached("late"), isShared: true });
  expect(await Promise.all([stuck, joined])).toEqual(["late", "late"]);
  expect(await get()).toBe("new");
});

test("ends a fetch or refresh that ignores its signal", async () => {
  vi.useFakeTimers();
  const stuck = get();
  const refused = expect(stuck).rejects.toThrow("no response within 300000 ms");
  vi.advanceTimersByTime(300_000);
  await refused;
  expect(fetches.shift()!.signal.aborted).toBe(true);
  await store("old", STALE);
  later(60_000);
  expect(await get()).toBe("old");
  vi.advanceTimersByTime(29_999);
  await get();
  expect(fetches).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(1);
  expect(fetches[0]!.signal.aborted).toBe(true);
  // The next lookup starts another refresh.
  expect(await get()).toBe("old");
  expect(fetches).toHaveLength(2);
});

test("rejects every waiter on failure, and caches nothing", async () => {
  const asked = [get(), get()];
  fetches.shift()!.reject(new Error("no"));
  for (const each of asked) await expect(each).rejects.toThrow("no");
  await expectFetched("yes");
});

test("does not share a response that is not shareable", async () => {
  const [first, second] = [get(), get()];
  fetches.shift()!.resolve({ response: cached("mine"), isShared: false });
  expect(await first).toBe("mine");
  await expect.poll(() => fetches.length).toBe(1);
  fetches.shift()!.resolve({ response: cached("yours"), isShared: true });
  expect(await second).toBe("yours");
  expect(await get()).toBe("yours");
});

test("returns a stale response at once and refreshes it", async () => {
  await store("old", STALE);
  later(60_000);
  expect(await Promise.all([get(), get()])).toEqual(["old", "old"]);
  expect(fetches).toHaveLength(1);
  // The fetch can validate it.
  expect(fetches[0]!.known?.etag).toBe('"old"');
  fetches.shift()!.resolve({ response: cached("new"), isShared: true });
  await expect.poll(() => get()).toBe("new");
  expect(cache.stats).toMatchObject({ stale: 2 });
});

test("keeps a stale response when its refresh fails", async () => {
  await store("old", STALE);
  later(60_000);
  expect(await get()).toBe("old");
  fetches.shift()!.reject(new Error("no"));
  await new Promise(setImmediate);
  later(59_999);
  expect(await get()).toBe("old");
  fetches.shift()!.reject(new Error("no"));
  await new Promise(setImmediate);
  later(1);
  await expectFetched("new");
});

test("returns a stale response when the refresh is shed", async () => {
  await store("old", STALE);
  later(60_000);
  expect(await get({ refresh: () => undefined })).toBe("old");
  expect(fetches).toHaveLength(0);
});

test("invalidates a response when a resource it shows changes", async () => {
  await store("a");
  const all = get({ key: "all" });
  fetches.shift()!.resolve({ response: cached("all", { resources: undefined }), isShared: true });
  await all;
  scope.apply(1n, [{ number: 1n, resources: ["b"] }]);
  expect(await get()).toBe("a");
  await expectFetched("all again", { key: "all" });
  scope.apply(2n, [{ number: 2n, resources: ["a"] }]);
  await expectFetched("a again");
  expect(await get()).toBe("a again");
});

test("does not cache a response that a change overtook", async () => {
  const before = get();
  scope.apply(1n, [{ number: 1n, resources: ["a"] }]);
  const after = get();
  expect(fetches).toHaveLength(2);
  fetches[1]!.resolve({ response: cached("new"), isShared: true });
  expect(await after).toBe("new");
  // The lookup from before the change gets the old response, which is not cached.
  fetches[0]!.resolve({ response: cached("old", { position: 0n }), isShared: true });
  expect(await before).toBe("old");
  expect(await get()).toBe("new");
});

test("caches a response that contains the change already", async () => {
  const asked = get();
  scope.apply(1n, [{ number: 1n, resources: ["a"] }]);
  fetches.shift()!.resolve({ response: cached("new", { position: 1n }), isShared: true });
  await asked;
  expect(await get()).toBe("new");
});

test("fetches for a caller that knows a newer change", async () => {
  await store("old");
  const [first, second] = [get({ needs: 7n }), get({ needs: 7n })];
  // Another caller's fetch may have begun before the change.
  expect(fetches).toHaveLength(2);
  for (const fetch of fetches) fetch.resolve({ response: cached("new"), isShared: true });
  expect(await Promise.all([first, second])).toEqual(["new", "new"]);
  scope.apply(7n, [{ number: 7n, resources: ["b"] }]);
  expect(await get({ needs: 7n })).toBe("new");
});

test("a gap invalidates cached responses and fetches in flight", async () => {
  await store("old", { position: 900n });
  scope.apply(1000n, []);
  const before = get({ key: "other" });
  scope.reset(500n);
  expect(scope.seen).toBe(500n);
  const after = get({ key: "other" });
  expect(fetches).toHaveLength(2);
  for (const fetch of fetches.splice(0)) fetch.resolve({ response: cached("x"), isShared: true });
  await Promise.all([before, after]);
  await expectFetched("new");
});

test("does not trust a position from an earlier era", async () => {
  scope.apply(1000n, []);
  const [first, second] = [get(), get()];
  scope.reset(500n);
  fetches.shift()!.resolve({ response: cached("mine", { position: 1000n }), isShared: false });
  await first;
  await expect.poll(() => fetches.length).toBe(1);
  fetches.shift()!.resolve({ response: cached("old", { position: 1000n }), isShared: true });
  expect(await second).toBe("old");
  scope.apply(501n, [{ number: 501n, resources: ["a"] }]);
  await expectFetched("new");
});

test("numbers that go back empty the scope", async () => {
  scope.apply(990n, []);
  scope.see(1000n);
  await store("old", { position: 1000n });
  scope.setBack(501n);
  expect([scope.seen, scope.position]).toEqual([501n, 501n]);
  await expectFetched("new", { needs: 501n, position: 501n });
  // A scope that follows no feed has applied no change.
  scope = cache.scope("c.D");
  scope.see(1000n);
  scope.setBack(501n);
  expect([scope.seen, scope.position]).toEqual([501n, 0n]);
});

test("does not replace a response that was requested later", async () => {
  const first = get({ fresh: true });
  const second = get({ fresh: true });
  expect(fetches).toHaveLength(2);
  fetches[1]!.resolve({ response: cached("second"), isShared: true });
  await second;
  fetches[0]!.resolve({ response: cached("first"), isShared: true });
  expect(await first).toBe("first");
  expect(await get()).toBe("second");
});

test("invalidates early when it has forgotten a resource's change", async () => {
  await store("a");
  const numbers = Array.from({ length: 10_001 }, (_, at) => BigInt(at + 1));
  scope.apply(
    10_001n,
    numbers.map((number) => ({ number, resources: [`r${number}`] })),
  );
  await expectFetched("a again");
});

test("stays within its memory and does not cache large responses", async () => {
  const small = new ResponseCache({ maxBytes: 32_000 });
  const part = small.scope("a.B");
  const put = async (key: string, size: number) => {
    const bytes = Buffer.alloc(size);
    const fetch = async () => ({ response: cached("", { bytes }), isShared: true });
    const lookup = { needs: 0n, position: 0n, signal: () => undefined, refresh: () => undefined };
    await part.get({ key, fetch, ...lookup });
  };
  for (let at = 0; at < 100; at += 1) await put(`${at}`, 500);
  expect(small.stats.bytes).toBeLessThanOrEqual(32_000);
  expect(small.stats.entries).toBeGreaterThan(20);
  await put("99", 500);
  expect(small.stats.hits).toBe(1);
  const { entries } = small.stats;
  await put("large", 2000);
  await put("k".repeat(2000), 1);
  expect(small.stats.entries).toBe(entries);
  const large = new ResponseCache({ maxBytes: 1_000_000 });
  for (const length of [9000, 8000]) {
    await large.scope("a.B").get({
      key: "k".repeat(length),
      fetch: async () => ({ response: cached("x"), isShared: true }),
      ...{ needs: 0n, position: 0n, signal: () => undefined, refresh: () => undefined },
    });
    expect(large.stats.entries).toBe(length > 8192 ? 0 : 1);
  }
  expect(() => new ResponseCache({ maxBytes: 0 })).toThrow("maxBytes is 0");
});
