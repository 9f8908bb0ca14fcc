import { getLogger, setLogger } from "@grpc/grpc-js/build/src/logging.js";
import type { Logger } from "pino";

/**
 * After one of these words a line of grpc-js has metadata, or the text of a status. An illegal metadata value
 * is logged as an error, the others are traces (`GRPC_TRACE`).
 */
const VALUES = /(metadata entry [^\s:]+|headers|trailers|details)\b.*$/is;

/** The logger of grpc-js before anything here has set another one: its own, which writes to stderr. */
const ITS_OWN = getLogger();

type Level = "error" | "info" | "debug";

/** Passes lines of grpc-js's on without the values of metadata. */
class RedactingLogger {
  readonly #logger: Partial<Console>;
  /** Takes the place of grpc-js's own logger, never of one that the program has set. */
  sink: Logger | undefined;

  constructor(logger: Partial<Console>) {
    this.#logger = logger;
  }

  error(...parts: unknown[]): void {
    this.#write("error", parts);
  }

  info(...parts: unknown[]): void {
    this.#write("info", parts);
  }

  debug(...parts: unknown[]): void {
    this.#write("debug", parts);
  }

  #write(level: Level, parts: unknown[]): void {
    const line = parts.map(String).join(" ");
    const redacted = line.replace(VALUES, "$1: [redacted]");
    if (this.sink === undefined || this.#logger !== ITS_OWN) {
      // As grpc-js does with a logger that lacks a method.
      (this.#logger[level] ?? this.#logger.error)?.call(this.#logger, redacted);
    } else if (level === "error" && redacted !== line) {
      // A stranger's illegal value is no error of this program.
      this.sink.info({ library: "grpc-js" }, redacted);
    } else this.sink[level]({ library: "grpc-js" }, redacted);
  }
}

/**
 * Keeps metadata values out of what grpc-js logs: by itself it writes an illegal value, such as a token with
 * one character too many, to stderr. Lines go where they went before, without the values: to the logger that
 * the program has set with grpc-js's `setLogger`, or else to grpc-js's own.
 *
 * A logger that is set later replaces this one, until the next server or client is made. `setLogVerbosity`,
 * `GRPC_VERBOSITY` and `GRPC_TRACE` keep their meaning.
 *
 * @param log takes the place of grpc-js's own logger
 */
export function redactGrpcLog(log?: Logger): void {
  const logger = getLogger();
  const redacting =
    logger instanceof RedactingLogger ? logger : new RedactingLogger(logger as Partial<Console>);
  if (log !== undefined) redacting.sink = log;
  if (redacting !== logger) setLogger(redacting);
}
