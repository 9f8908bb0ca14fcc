/** A fetch in flight, shared by every caller that waits for its response. */
export interface Flight<Result> {
  readonly result: Promise<Result>;
  /** Aborted when the last waiter cancels, and at the flight's deadline. */
  readonly signal: AbortSignal;
  /** Adds a waiter. The promise rejects when the waiter's own signal is aborted; the fetch continues for the others. */
  join(signal: AbortSignal | undefined): Promise<Result>;
}

/**
 * Starts a fetch with a signal of its own. It continues when one waiter cancels, and is aborted when the last
 * one does. The flight starts without a waiter: call `join`.
 *
 * @param limitMs deadline after which every waiter fails, even if the fetch ignores its signal
 */
export function startFlight<Result>(
  fetch: (signal: AbortSignal) => Promise<Result>,
  limitMs: number,
): Flight<Result> {
  const controller = new AbortController();
  const { signal } = controller;
  let waiting = 0;
  const left: (() => void)[] = [];
  const limit = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    const error = new Error(`no response within ${limitMs} ms`);
    limit.reject(error);
    controller.abort(error);
  }, limitMs);
  timer.unref();
  const result = Promise.race([fetch(signal), limit.promise]).finally(() => {
    clearTimeout(timer);
    for (const leave of left) leave();
  });
  // Waiters handle the rejection. Without a waiter it must not be reported as unhandled.
  result.catch(() => {});
  return {
    result,
    signal,
    join(own) {
      waiting += 1;
      if (own === undefined) return result;
      const gone = Promise.withResolvers<never>();
      const leave = () => {
        waiting -= 1;
        gone.reject(own.reason);
        if (waiting === 0) controller.abort(own.reason);
      };
      if (own.aborted) leave();
      else {
        own.addEventListener("abort", leave, { once: true });
        left.push(() => own.removeEventListener("abort", leave));
      }
      const joined = Promise.race([result, gone.promise]);
      joined.catch(() => {});
      return joined;
    },
  };
}
