import { type Logger, pino } from "pino";
import { loggable } from "./redact.ts";

/**
 * Makes a structured log: one JSON object a line, on stderr. Errors are written with their causes. Tokens, keys and
 * states are redacted at every depth (`loggable`).
 */
export function createLog(level: string, bindings: Record<string, unknown> = {}): Logger {
  return pino(
    {
      level,
      base: { pid: process.pid, ...bindings },
      timestamp: pino.stdTimeFunctions.isoTime,
      // pino's own serializer would drop the members of an error's causes.
      serializers: { err: (ready: unknown) => ready },
      formatters: { log: (entry) => loggable(entry) as Record<string, unknown> },
    },
    pino.destination({ dest: 2, sync: true }),
  );
}
