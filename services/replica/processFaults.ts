import type { Logger } from "pino";

/** Longest time that a process with an uncaught exception waits for its calls under way, in ms. */
const DRAIN_LIMIT_MS = 60_000;

/**
 * Decides what becomes of a process when code in it has failed and nothing has caught that.
 *
 * - An unhandled rejection is logged with its stack and counted, and the process goes on serving. Nothing was
 *   left half done by it that a failed call would not leave, too; and if it ended the process, a caller that
 *   finds a way to cause one could end every replica.
 * - After an uncaught exception the process drains and exits with 1: it was thrown through code that does not
 *   expect it, such as a library's event listener, and may have left anything in an undefined state.
 *
 * @param drain lets the calls under way end
 */
export function handleFaults(log: Logger, drain: () => Promise<void>): void {
  let rejections = 0;
  let isEnding = false;

  process.on("unhandledRejection", (reason) => {
    rejections += 1;
    write(
      () =>
        log.error({ err: reason, rejections }, "unhandled rejection; the replica goes on serving"),
      () => log.error({ rejections }, "unhandled rejection of something that cannot be logged"),
    );
  });

  process.on("uncaughtException", (error) => {
    write(
      () => log.fatal({ err: error }, "uncaught exception; the replica drains and exits"),
      () => log.fatal("uncaught exception of something that cannot be logged"),
    );
    if (isEnding) return;
    isEnding = true;
    const exit = () => process.exit(1);
    setTimeout(exit, DRAIN_LIMIT_MS).unref();
    // Draining may fail in turn: this process has ended all the same.
    drain().then(exit, exit);
  });
}

/** Writes a line, or another one when it cannot be written. Throws nothing: that would be the next fault. */
function write(line: () => void, other: () => void): void {
  try {
    line();
  } catch {
    try {
      other();
    } catch {
      // The log itself fails.
    }
  }
}
