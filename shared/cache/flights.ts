/** A fetch that is under way, for all who want its answer. */
export interface Flight<Result> {
  readonly result: Promise<Result>;
  /** Aborted when nobody waits any more. */
  readonly signal: AbortSignal;
  /** Has somebody wait for it, until his own signal is aborted. */
  join(signal: AbortSignal | undefined): void;
}

/**
 * Starts a fetch under a signal of its own: who gives up leaves the others their answer, and the last one to
 * give up ends it. Waits for nobody at first: join it.
 */
export function startFlight<Result>(
  fetch: (signal: AbortSignal) => Promise<Result>,
): Flight<Result> {
  const controller = new AbortController();
  const { signal } = controller;
  let waiting = 0;
  const left: (() => void)[] = [];
  const result = fetch(signal).finally(() => {
    for (const leave of left) leave();
  });
  // Those who wait hear of it; where nobody does, nobody needs to.
  result.catch(() => {});
  return {
    result,
    signal,
    join(own) {
      waiting += 1;
      if (own === undefined) return;
      const leave = () => {
        waiting -= 1;
        if (waiting === 0) controller.abort(own.reason);
      };
      if (own.aborted) return leave();
      own.addEventListener("abort", leave, { once: true });
      left.push(() => own.removeEventListener("abort", leave));
    },
  };
}
