import { afterEach, expect, test, vi } from "vitest";
import { waitFor } from "../../test/support/waitFor.ts";
import { createLog } from "../runtime/log.ts";
import type { CacheScope } from "./cacheScope.ts";
import { type ChangesPiece, followChanges } from "./followChanges.ts";
import { ResponseCache } from "./responseCache.ts";

let scope: CacheScope;
/** Each watch, the number that it started after, and its end. */
let watches: { after: bigint; signal: AbortSignal; end: PromiseWithResolvers<void> }[];
let stop: () => void;

/** The texts of warnings. */
let warned: string[];

/** Follows a feed that sends these messages, one list a watch. */
function follow(pieces: ChangesPiece[][], warnAfterMs?: number): void {
  warned = [];
  const log = createLog("silent");
  log.warn = (_fields: unknown, text?: string) => void warned.push(text!);

  scope = new ResponseCache({ maxBytes: 1000 }).scope("a.B");
  watches = [];
  const watch = async function* (after: bigint, signal: AbortSignal) {
    const end = Promise.withResolvers<void>();
    watches.push({ after, signal, end });
    yield* pieces[watches.length - 1] ?? [];
    await end.promise;
  };
  stop = followChanges(scope, watch, log, warnAfterMs);
}
afterEach(() => {
  stop();
  vi.useRealTimers();
});

const change = (number: bigint) => ({ number, resources: [`r${number}`] });

test("applies changes, and reconnects from the last one", async () => {
  follow([
    [{ number: 7n, gap: true, changes: [] }],
    [{ number: 9n, gap: false, changes: [change(8n), change(9n)] }],
  ]);
  await expect.poll(() => scope.position).toBe(7n);
  watches[0]!.end.reject(new Error("cut"));
  await expect.poll(() => scope.position).toBe(9n);
  watches[1]!.end.resolve();
  await expect.poll(() => watches.length).toBe(3);
  expect(watches.map(({ after }) => after)).toEqual([0n, 7n, 9n]);
  expect(scope.seen).toBe(9n);
});

test("warns once when a stream stays disconnected", async () => {
  // Only the warning uses fake timers: the back-off waits by itself.
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const piece = { number: 1n, gap: true, changes: [] };
  follow([[piece], [], [], [{ ...piece, number: 2n }], []], 200);
  const untilCut = async (watch: number) => {
    await waitFor(`watch ${watch}`, () => watches.length === watch + 1);
    watches[watch]!.end.reject(new Error("cut"));
  };
  await untilCut(0);
  await untilCut(1);
  vi.advanceTimersByTime(199);
  expect(warned).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(warned).toHaveLength(1);
  await untilCut(2);
  await waitFor("change 2", () => scope.position === 2n);
  vi.advanceTimersByTime(400);
  expect(warned).toHaveLength(1);
  await untilCut(3);
  await waitFor("watch 4", () => watches.length === 5);
  vi.advanceTimersByTime(200);
  expect(warned).toHaveLength(2);
});

test("stops when told to", async () => {
  follow([]);
  await expect.poll(() => watches.length).toBe(1);
  stop();
  expect(watches[0]!.signal.aborted).toBe(true);
  watches[0]!.end.reject(new Error("aborted"));
  for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
  expect(watches).toHaveLength(1);
});
