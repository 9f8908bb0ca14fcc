import { type Logger, pino } from "pino";
import { loggable } from "./redact.ts";

/**
 * A structured log, one JSON object a line, on stderr. Errors are written with their causes; what
 * could carry a token, a key or a state is cut out wherever it stands (`loggable`).
 */
export function createLog(level: string, bindings: Record<string, unknown> = {}): Logger {
  return pino(
    {
      level,
      base: { pid: process.pid, ...bindings },
      timestamp: pino.stdTimeFunctions.isoTime,
      // By itself pino would take an error that is ready to be written for one, and leave out its causes' members.
      serializers: { err: (ready: unknown) => ready },
      formatters: { log: (entry) => loggable(entry) as Record<string, unknown> },
    },
    pino.destination({ dest: 2, sync: true }),
  );
}
