import type { Logger } from "pino";
import { reconnect } from "../runtime/reconnect.ts";
import type { CacheScope } from "./cacheScope.ts";
import type { Change } from "./changes.ts";

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
 * Applies a service's changes to a cache as they are made, until stopped. While the stream is disconnected,
 * cached responses are used for as long as their lifetime allows, unless a response tells of a change.
 * Afterwards missed changes are read, or the cache is emptied where they are gone. A stream that is
 * disconnected for longer than `warnAfterMs` is logged, once.
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
  const connected = () => {
    clearTimeout(warning);
    warning = undefined;
  };
  const follow = async (succeeded: () => void) => {
    warning ??= setTimeout(
      () =>
        log?.warn(
          { forMs: warnAfterMs },
          "change stream disconnected; stale responses are possible",
        ),
      warnAfterMs,
    ).unref();
    for await (const { number, gap, changes } of watch(scope.position, signal)) {
      succeeded();
      connected();
      if (gap) scope.reset(number);
      else scope.hear(number, changes);
    }
  };
  const options = { signal, log, level: "debug" } as const;
  void reconnect("change stream disconnected; reconnecting", follow, options).then(connected);
  return () => stopping.abort();
}
