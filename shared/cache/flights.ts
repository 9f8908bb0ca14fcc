/** A fetch that is under way, for all who want its answer. */
export interface Flight<Result> {
  readonly result: Promise<Result>;
  /** Aborted when nobody waits any more, and at the flight's limit. */
  readonly signal: AbortSignal;
  /** Has somebody wait for it: rejects as soon as his own signal is aborted, whatever becomes of the flight. */
  join(signal: AbortSignal | undefined): Promise<Result>;
}

/**
 * Starts a fetch under a signal of its own: who gives up leaves the others their answer, and the last one to
 * give up ends it. Waits for nobody at first: join it.
 *
 * @param limitMs when it fails for all, whether or not the fetch heeds its signal
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
    const error = new Error(`no answer came within ${limitMs} ms`);
    limit.reject(error);
    controller.abort(error);
  }, limitMs);
  timer.unref();
  const result = Promise.race([fetch(signal), limit.promise]).finally(() => {
    clearTimeout(timer);
    for (const leave of left) leave();
  });
  // Those who wait hear of it; where nobody does, nobody needs to.
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
      const answered = Promise.race([result, gone.promise]);
      answered.catch(() => {});
      return answered;
    },
  };
}
