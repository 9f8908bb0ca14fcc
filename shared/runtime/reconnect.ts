import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";

const MIN_BACKOFF_MS = 50;
const MAX_BACKOFF_MS = 1000;

/** How a connection is kept up. */
export interface ReconnectOptions {
  /** Ends the loop. */
  readonly signal: AbortSignal;
  readonly log?: Logger | undefined;
  /** Default: warn. */
  readonly level?: "warn" | "debug";
  /** Bounds of the back-off, in ms. Default: 50 ms and 1 s. */
  readonly minBackoffMs?: number;
  readonly maxBackoffMs?: number;
  /** Waits between runs; a wait that rejects has ended early. Default: a timer. */
  readonly wait?: (ms: number, signal: AbortSignal) => Promise<unknown>;
}

/**
 * Runs something that keeps a connection, such as reading a stream or polling, again and again until the
 * signal is aborted. Backs off after each run that failed or ended, twice as long each time up to the
 * bound, with jitter.
 *
 * @param message logged for a run that failed, with the error's message
 * @param run resolves with the time to wait before the next run, in ms, or with nothing: the connection ended.
 *   Calls `succeeded` when the connection works, which resets the back-off, as a returned time does
 */
export async function reconnect(
  message: string,
  run: (succeeded: () => void) => Promise<number | undefined> | Promise<void>,
  {
    signal,
    log,
    level = "warn",
    minBackoffMs = MIN_BACKOFF_MS,
    maxBackoffMs = MAX_BACKOFF_MS,
    wait = (ms, ended) => delay(ms, undefined, { signal: ended }),
  }: ReconnectOptions,
): Promise<void> {
  let backoffMs = minBackoffMs;
  const succeeded = () => {
    backoffMs = minBackoffMs;
  };
  while (!signal.aborted) {
    let waitMs: number | undefined;
    try {
      const result = await run(succeeded);
      if (typeof result === "number") {
        waitMs = result;
        succeeded();
      }
    } catch (error) {
      // No stack: while the other side is unavailable this is logged again and again.
      if (!signal.aborted) log?.[level]({ cause: (error as Error).message }, message);
    }
    if (waitMs === undefined) {
      waitMs = backoffMs * (0.5 + Math.random() / 2);
      backoffMs = Math.min(backoffMs * 2, maxBackoffMs);
    }
    if (waitMs > 0) await wait(waitMs, signal).catch(() => {});
  }
}
