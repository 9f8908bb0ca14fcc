import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import type { CacheScope } from "./cacheScope.ts";
import type { Change } from "./changes.ts";

const MIN_BACKOFF_MS = 50;
const MAX_BACKOFF_MS = 1000;
/** A restart takes seconds. */
const WARN_AFTER_MS = 30_000;

/** What a service's feed says at a time, in the order of its numbers. */
export interface ChangesPiece {
  /** Every change up to this one is known with it. */
  readonly number: bigint;
  /** Changes before it are missing. */
  readonly gap: boolean;
  readonly changes: readonly Change[];
}

/**
 * Has a cache hear of a service's changes as they are made, for as long as the program wants. While nothing is
 * heard, what is kept is used for as long as it is declared good, unless an answer tells of a change. What was
 * missed is caught up with, or else all is dropped. Who hears nothing for longer than `warnAfterMs` says so, once.
 *
 * @param watch the changes after a number, and each one more as it is made: `WatchChanges` of the service
 * @returns stops it
 */
export function followChanges(
  scope: CacheScope,
  watch: (after: bigint, signal: AbortSignal) => AsyncIterable<ChangesPiece>,
  log?: Logger,
  warnAfterMs: number = WARN_AFTER_MS,
): () => void {
  const stopping = new AbortController();
  const { signal } = stopping;
  let warning: NodeJS.Timeout | undefined;
  const heard = () => {
    clearTimeout(warning);
    warning = undefined;
  };
  const cut = () => {
    warning ??= setTimeout(
      () => log?.warn({ forMs: warnAfterMs }, "changes: nothing is heard of them"),
      warnAfterMs,
    ).unref();
  };
  const follow = async () => {
    let backoffMs = MIN_BACKOFF_MS;
    cut();
    while (!signal.aborted) {
      try {
        for await (const { number, gap, changes } of watch(scope.position, signal)) {
          backoffMs = MIN_BACKOFF_MS;
          heard();
          if (gap) scope.reset(number);
          else scope.hear(number, changes);
        }
      } catch (error) {
        const { message } = error as Error;
        if (!signal.aborted) log?.debug({ cause: message }, "changes: cut off");
      }
      cut();
      await delay(backoffMs * (0.5 + Math.random()), undefined, { signal }).catch(() => {});
      backoffMs = Math.min(backoffMs * 2, MAX_BACKOFF_MS);
    }
  };
  void follow().then(heard);
  return () => stopping.abort();
}
