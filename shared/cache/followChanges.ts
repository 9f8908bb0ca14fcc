import type { Logger } from "pino";
import { reconnect } from "../runtime/reconnect.ts";
import type { CacheScope } from "./cacheScope.ts";
import type { Change } from "./changes.ts";

/** Longer than the few seconds of a restart. */
const WARN_AFTER_MS = 30_000;

/** One message of a service's change feed, in the order of the change numbers. */
export interface ChangesPiece {
  /** With this message every change up to this one was sent. */
  readonly number: bigint;
  /** True if changes before it are missing. */
  readonly gap: boolean;
  readonly changes: readonly Change[];
}

/**
 * Applies a service's changes to a cache as they are made, until stopped. While the stream is disconnected,
 * cached responses are used for as long as their lifetime allows, unless a response tells of a change.
 * Afterwards missed changes are read, or the cache is emptied where they are gone. A stream that is
 * disconnected for longer than `warnAfterMs` is logged, once.
 *
 * @param watch streams the changes after a number, and each new one: `WatchChanges` of the service
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
      else scope.apply(number, changes);
    }
  };
  const options = { signal, log, level: "debug" } as const;
  void reconnect("change stream disconnected; reconnecting", follow, options).then(connected);
  return () => stopping.abort();
}
