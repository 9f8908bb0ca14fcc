import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";

/**
 * Does something again and again, about so often, until told to stop. Replicas do not do it in step:
 * each wait is half to one and a half of the time given. What fails is tried again the next time.
 *
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
      await work().catch((err: unknown) => log.warn({ err }, `failed, to be tried again: ${what}`));
    }
  };
  void run();
  return () => stopping.abort();
}

/** Does something at once, and again until it succeeds or is told to stop. */
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
      log.warn({ err }, `failed, to be tried again: ${what}`);
      await delay(500 + Math.random() * 500, undefined, { signal }).catch(() => {});
    }
  }
}
