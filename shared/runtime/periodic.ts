import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";

/**
 * Runs work about once in each interval until stopped. Each wait is half to one and a half of the interval,
 * so that replicas do not run in step. Work that fails is retried after the next wait.
 *
 * @param what names the work in the log, as in `{what} failed; will retry`
 * @returns stops it
 */
export function every(
  what: string,
  intervalMs: number,
  work: () => Promise<unknown>,
  log: Logger,
): () => void {
  const stopping = new AbortController();
  const run = async () => {
    const { signal } = stopping;
    while (!signal.aborted) {
      await delay(intervalMs * (0.5 + Math.random()), undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      await work().catch((err: unknown) => log.warn({ err }, `${what} failed; will retry`));
    }
  };
  void run();
  return () => stopping.abort();
}

/** Runs work at once, and again until it succeeds or the signal is aborted. */
export async function untilDone(
  what: string,
  work: () => Promise<unknown>,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      await work();
      return;
    } catch (err) {
      log.warn({ err }, `${what} failed; will retry`);
      await delay(500 + Math.random() * 500, undefined, { signal }).catch(() => {});
    }
  }
}
