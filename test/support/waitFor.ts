import { setTimeout as delay } from "node:timers/promises";

/** Interval between checks, in ms. */
const INTERVAL_MS = 20;

type Falsy = false | 0 | "" | null | undefined;

/**
 * Waits until a check returns something truthy, and returns that.
 *
 * @param what names the event in the error
 * @param limitMs longest wait, in ms. Default: 60,000, which ends before a test's own limit
 * @throws Error when the limit is over, even if the check hangs; or what the check throws
 */
export async function waitFor<Result>(
  what: string,
  check: () => Result | Promise<Result>,
  limitMs = 60_000,
): Promise<Exclude<Result, Falsy>> {
  const stopping = new AbortController();
  // Not the global timer, which a test may have faked.
  const limit = delay(limitMs, undefined, { signal: stopping.signal }).then(() => {
    throw new Error(`waited ${limitMs} ms for ${what}`);
  });
  limit.catch(() => {});
  try {
    for (;;) {
      const result = await Promise.race([limit, check()]);
      if (result) return result as Exclude<Result, Falsy>;
      await delay(INTERVAL_MS);
    }
  } finally {
    stopping.abort();
  }
}
