import type { Logger } from "pino";
import type { StatusError } from "../errors.ts";
import { loggable } from "../runtime/redact.ts";

/** Longest cause of a refusal in the log, in characters: it may repeat the caller's input. */
const MAX_WHY = 500;

/**
 * Returns a function that logs the error of each failed call once: INTERNAL as an error; a possible attack or
 * data corruption as a warning, with the number of them since the start (`alarms`); other refusals as info,
 * in short, because any caller can cause any number of them. Removes secrets from the error (`loggable`),
 * whether or not the log redacts.
 *
 * Never throws: an error that cannot be logged loses its line and fails no call.
 */
export function failureLog(log: Logger | undefined): (method: string, error: StatusError) => void {
  let alarms = 0;
  const write = (method: string, { reason, code, details }: StatusError) => {
    const { alarm, cause } = details;
    if (alarm) {
      alarms += 1;
      const entry = { method, reason, code, err: loggable(cause), alarms };
      log?.warn(entry, "call refused: possible tampering or data corruption");
    } else if (reason === "INTERNAL") {
      log?.error({ method, reason, code, err: loggable(cause) }, "call failed");
    } else {
      log?.info({ method, reason, code, why: loggable(whyOf(cause)) }, "call refused");
    }
  };
  return (method, error) => {
    try {
      write(method, error);
    } catch {
      try {
        // For example, a getter of the error throws.
        log?.error({ method }, "call failed; its error cannot be written to the log");
      } catch {
        // The log itself has failed.
      }
    }
  };
}

function whyOf(cause: unknown): unknown {
  // V8's message repeats a part of the invalid JSON, which may be a part of a credential.
  if (cause instanceof SyntaxError) return "not JSON";
  const message = cause instanceof Error ? cause.message : cause;
  return typeof message === "string" ? message.slice(0, MAX_WHY) : message;
}
