import type { Logger } from "pino";

/** Longest drain after an uncaught exception. */
const DRAIN_LIMIT_MS = 60_000;

/**
 * Handles unhandled rejections and uncaught exceptions.
 *
 * - An unhandled rejection is logged and counted, and the process continues to serve. It leaves no more undone
 *   than a failed call does, and if it ended the process, a caller that can cause one could end every replica.
 * - After an uncaught exception the process drains and exits with 1: code that does not expect an exception,
 *   such as a library's event listener, may have left its state inconsistent.
 *
 * @param drain settles when the calls in flight have ended
 */
export function handleFaults(log: Logger, drain: () => Promise<void>): void {
  let rejections = 0;
  let isEnding = false;

  process.on("unhandledRejection", (reason) => {
    rejections += 1;
    write(
      () =>
        log.error(
          { err: reason, rejections },
          "unhandled rejection; the replica continues to serve",
        ),
      () =>
        log.error(
          { rejections },
          "unhandled rejection with a reason that cannot be logged; the replica continues to serve",
        ),
    );
  });

  process.on("uncaughtException", (error) => {
    write(
      () => log.fatal({ err: error }, "uncaught exception; the replica drains and exits"),
      () => log.fatal("uncaught exception that cannot be logged; the replica drains and exits"),
    );
    if (isEnding) return;
    isEnding = true;
    const exit = () => process.exit(1);
    setTimeout(exit, DRAIN_LIMIT_MS).unref();
    // Exit even if the drain fails.
    drain().then(exit, exit);
  });
}

/** Writes a log line, or the other one if that throws. Never throws: that would be the next fault. */
function write(line: () => void, other: () => void): void {
  try {
    line();
  } catch {
    try {
      other();
    } catch {
      // The log itself failed.
    }
  }
}
