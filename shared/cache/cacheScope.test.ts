import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { CacheScope, Fetched, Question } from "./cacheScope.ts";
import { type Answer, ResponseCache } from "./responseCache.ts";

let clock: { wall: number; monotonic: number };
let cache: ResponseCache;
let scope: CacheScope;
/** Fetches that wait to be answered. */
let fetches: (PromiseWithResolvers<Fetched> & { signal: AbortSignal; known: Answer | undefined })[];

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
const answer = (text: string, more: Partial<Answer> = {}): Answer => ({
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

/** Asks, and gives the answer's text. */
async function ask(more: Partial<Question> = {}): Promise<string> {
  const fetch: Question["fetch"] = ({ signal, known }) => {
    const waiting = { ...Promise.withResolvers<Fetched>(), signal, known };
    fetches.push(waiting);
    return waiting.promise;
  };
  const found = await scope.ask({
    key: "k",
    needs: 0n,
    position: scope.position,
    signal: () => undefined,
    fetch,
    refresh: () => fetch,
    ...more,
  });
  return found.answer.bytes.toString();
}

/** Has an answer kept. */
async function keep(text: string, more: Partial<Answer> = {}): Promise<void> {
  const asked = ask();
  fetches.shift()!.resolve({ answer: answer(text, more), isShared: true });
  expect(await asked).toBe(text);
}

/** The next question must be fetched for; answers it. */
async function expectFetched(text: string, more: Partial<Question> = {}): Promise<void> {
  const asked = ask(more);
  expect(fetches).toHaveLength(1);
  fetches.shift()!.resolve({ answer: answer(text), isShared: true });
  expect(await asked).toBe(text);
}

test("an answer is used until it is as old as it may be, and not a moment longer", async () => {
  await keep("old", { ageMs: 10_000 });
  later(49_999);
  expect(await ask()).toBe("old");
  later(1);
  await expectFetched("new");
  expect(cache.stats).toMatchObject({ hits: 1, stale: 0, misses: 2, entries: 1 });
});

test("an answer grows old by whichever clock goes on", async () => {
  await keep("old");
  clock.wall -= 3_600_000;
  clock.monotonic += 60_000;
  await expectFetched("new");
  clock.wall += 60_000;
  await expectFetched("newer");
});

test("calls for the same at the same time are answered by one fetch", async () => {
  const asked = [ask(), ask(), ask()];
  expect(fetches).toHaveLength(1);
  fetches[0]!.resolve({ answer: answer("one"), isShared: true });
  expect(await Promise.all(asked)).toEqual(["one", "one", "one"]);
  // Another key is another question.
  void ask({ key: "other" });
  expect(fetches).toHaveLength(2);
});

test("who gives up leaves the others their answer; the last one ends the fetch", async () => {
  const [one, two] = [new AbortController(), new AbortController()];
  const first = ask({ signal: () => one.signal });
  const second = ask({ signal: () => two.signal });
  one.abort();
  expect(fetches[0]!.signal.aborted).toBe(false);
  fetches[0]!.resolve({ answer: answer("kept"), isShared: true });
  expect(await Promise.all([first, second])).toEqual(["kept", "kept"]);

  const alone = new AbortController();
  const third = ask({ key: "other", signal: () => alone.signal });
  alone.abort(new Error("gone"));
  expect(fetches[1]!.signal.aborted).toBe(true);
  // Nobody joins what was given up.
  const fourth = ask({ key: "other" });
  expect(fetches).toHaveLength(3);
  fetches[1]!.reject(new Error("gone"));
  await expect(third).rejects.toThrow("gone");
  fetches[2]!.resolve({ answer: answer("new"), isShared: true });
  expect(await fourth).toBe("new");
});

test("who waits for another's fetch and gives up waits no longer, however long that takes", async () => {
  const [one, two] = [new AbortController(), new AbortController()];
  const first = ask({ signal: () => one.signal });
  const second = ask({ signal: () => two.signal });
  two.abort(new Error("two is gone"));
  await expect(second).rejects.toThrow("two is gone");
  // Nor when he is gone before he has come.
  await expect(ask({ signal: () => two.signal })).rejects.toThrow("two is gone");
  expect(fetches[0]!.signal.aborted).toBe(false);
  fetches[0]!.resolve({ answer: answer("for one"), isShared: true });
  expect(await first).toBe("for one");
});

test("nobody joins a fetch that has been under way for two seconds; one a time is made instead", async () => {
  const stuck = ask();
  later(1999);
  const joined = ask();
  expect(fetches).toHaveLength(1);
  later(1);
  const [one, two] = [ask(), ask()];
  expect(fetches).toHaveLength(2);
  fetches[1]!.resolve({ answer: answer("new"), isShared: true });
  expect(await Promise.all([one, two])).toEqual(["new", "new"]);
  fetches[0]!.resolve({ answer: answer("late"), isShared: true });
  expect(await Promise.all([stuck, joined])).toEqual(["late", "late"]);
  expect(await ask()).toBe("new");
});

test("a fetch that heeds nothing ends at its limit, and so does one beside a stale answer", async () => {
  vi.useFakeTimers();
  const stuck = ask();
  const refused = expect(stuck).rejects.toThrow("no answer came within 300000 ms");
  vi.advanceTimersByTime(300_000);
  await refused;
  expect(fetches.shift()!.signal.aborted).toBe(true);
  await keep("old", STALE);
  later(60_000);
  expect(await ask()).toBe("old");
  vi.advanceTimersByTime(29_999);
  await ask();
  expect(fetches).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(1);
  expect(fetches[0]!.signal.aborted).toBe(true);
  // There is another.
  expect(await ask()).toBe("old");
  expect(fetches).toHaveLength(2);
});

test("a failure is heard by all who wait, and kept for nobody", async () => {
  const asked = [ask(), ask()];
  fetches.shift()!.reject(new Error("no"));
  for (const each of asked) await expect(each).rejects.toThrow("no");
  await expectFetched("yes");
});

test("what is for its own caller is kept for nobody, and given to nobody else", async () => {
  const [first, second] = [ask(), ask()];
  fetches.shift()!.resolve({ answer: answer("mine"), isShared: false });
  expect(await first).toBe("mine");
  await expect.poll(() => fetches.length).toBe(1);
  fetches.shift()!.resolve({ answer: answer("yours"), isShared: true });
  expect(await second).toBe("yours");
  expect(await ask()).toBe("yours");
});

test("a stale answer is given at once, and one newer fetched beside it", async () => {
  await keep("old", STALE);
  later(60_000);
  expect(await Promise.all([ask(), ask()])).toEqual(["old", "old"]);
  expect(fetches).toHaveLength(1);
  // It may be validated.
  expect(fetches[0]!.known?.etag).toBe('"old"');
  fetches.shift()!.resolve({ answer: answer("new"), isShared: true });
  await expect.poll(() => ask()).toBe("new");
  expect(cache.stats).toMatchObject({ stale: 2 });
});

test("what fails beside a stale answer leaves it, until its time is over", async () => {
  await keep("old", STALE);
  later(60_000);
  expect(await ask()).toBe("old");
  fetches.shift()!.reject(new Error("no"));
  await new Promise(setImmediate);
  later(59_999);
  expect(await ask()).toBe("old");
  fetches.shift()!.reject(new Error("no"));
  await new Promise(setImmediate);
  later(1);
  await expectFetched("new");
});

test("where there is no room to fetch beside a call, the stale answer is given all the same", async () => {
  await keep("old", STALE);
  later(60_000);
  expect(await ask({ refresh: () => undefined })).toBe("old");
  expect(fetches).toHaveLength(0);
});

test("an answer is good until what it shows has changed; one that shows everything, until anything has", async () => {
  await keep("a");
  const all = ask({ key: "all" });
  fetches.shift()!.resolve({ answer: answer("all", { resources: undefined }), isShared: true });
  await all;
  scope.hear(1n, [{ number: 1n, resources: ["b"] }]);
  expect(await ask()).toBe("a");
  await expectFetched("all again", { key: "all" });
  scope.hear(2n, [{ number: 2n, resources: ["a"] }]);
  await expectFetched("a again");
  expect(await ask()).toBe("a again");
});

test("what changes while an answer is on its way makes it no good, for those who ask later too", async () => {
  const before = ask();
  scope.hear(1n, [{ number: 1n, resources: ["a"] }]);
  const after = ask();
  expect(fetches).toHaveLength(2);
  fetches[1]!.resolve({ answer: answer("new"), isShared: true });
  expect(await after).toBe("new");
  // Who asked before is answered as things were then; it replaces nothing.
  fetches[0]!.resolve({ answer: answer("old", { position: 0n }), isShared: true });
  expect(await before).toBe("old");
  expect(await ask()).toBe("new");
});

test("an answer that has the change in it is kept, though the change was heard of while it was fetched", async () => {
  const asked = ask();
  scope.hear(1n, [{ number: 1n, resources: ["a"] }]);
  fetches.shift()!.resolve({ answer: answer("new", { position: 1n }), isShared: true });
  await asked;
  expect(await ask()).toBe("new");
});

test("who knows of a change is answered by nothing that has not heard of it", async () => {
  await keep("old");
  const [first, second] = [ask({ needs: 7n }), ask({ needs: 7n })];
  // Nor by another's fetch: nobody here knows whether that was asked before the change.
  expect(fetches).toHaveLength(2);
  for (const fetch of fetches) fetch.resolve({ answer: answer("new"), isShared: true });
  expect(await Promise.all([first, second])).toEqual(["new", "new"]);
  scope.hear(7n, [{ number: 7n, resources: ["b"] }]);
  expect(await ask({ needs: 7n })).toBe("new");
});

test("after a gap nothing is good that was asked for before, also what is on its way", async () => {
  await keep("old", { position: 900n });
  scope.hear(1000n, []);
  const before = ask({ key: "other" });
  scope.reset(500n);
  expect(scope.seen).toBe(500n);
  const after = ask({ key: "other" });
  expect(fetches).toHaveLength(2);
  for (const fetch of fetches.splice(0)) fetch.resolve({ answer: answer("x"), isShared: true });
  await Promise.all([before, after]);
  await expectFetched("new");
});

test("what a position says of an answer is so in the era of the question alone, however late it is fetched", async () => {
  scope.hear(1000n, []);
  const [first, second] = [ask(), ask()];
  scope.reset(500n);
  fetches.shift()!.resolve({ answer: answer("mine", { position: 1000n }), isShared: false });
  await first;
  await expect.poll(() => fetches.length).toBe(1);
  fetches.shift()!.resolve({ answer: answer("old", { position: 1000n }), isShared: true });
  expect(await second).toBe("old");
  scope.hear(501n, [{ number: 501n, resources: ["a"] }]);
  await expectFetched("new");
});

test("where numbers have gone back, nothing from before is good, and they are counted from there", async () => {
  scope.hear(990n, []);
  scope.see(1000n);
  await keep("old", { position: 1000n });
  scope.setBack(501n);
  expect([scope.seen, scope.position]).toEqual([501n, 501n]);
  await expectFetched("new", { needs: 501n, position: 501n });
  // A cache that follows no feed has heard of no change before.
  scope = cache.scope("c.D");
  scope.see(1000n);
  scope.setBack(501n);
  expect([scope.seen, scope.position]).toEqual([501n, 0n]);
});

test("an answer that was asked for later is not replaced by one that comes later", async () => {
  const first = ask({ fresh: true });
  const second = ask({ fresh: true });
  expect(fetches).toHaveLength(2);
  fetches[1]!.resolve({ answer: answer("second"), isShared: true });
  await second;
  fetches[0]!.resolve({ answer: answer("first"), isShared: true });
  expect(await first).toBe("first");
  expect(await ask()).toBe("second");
});

test("more names change than are remembered: what shows a forgotten one is dropped too early, never too late", async () => {
  await keep("a");
  const numbers = Array.from({ length: 10_001 }, (_, at) => BigInt(at + 1));
  scope.hear(
    10_001n,
    numbers.map((number) => ({ number, resources: [`r${number}`] })),
  );
  await expectFetched("a again");
});

test("no more memory is taken than is allowed; what is large is not kept", async () => {
  const small = new ResponseCache({ maxBytes: 32_000 });
  const part = small.scope("a.B");
  const put = async (key: string, size: number) => {
    const bytes = Buffer.alloc(size);
    const fetch = async () => ({ answer: answer("", { bytes }), isShared: true });
    const question = { needs: 0n, position: 0n, signal: () => undefined, refresh: () => undefined };
    await part.ask({ key, fetch, ...question });
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
    await large.scope("a.B").ask({
      key: "k".repeat(length),
      fetch: async () => ({ answer: answer("x"), isShared: true }),
      ...{ needs: 0n, position: 0n, signal: () => undefined, refresh: () => undefined },
    });
    expect(large.stats.entries).toBe(length > 8192 ? 0 : 1);
  }
  expect(() => new ResponseCache({ maxBytes: 0 })).toThrow("maxBytes is 0");
});
