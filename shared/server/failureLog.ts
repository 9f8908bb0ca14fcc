import type { Logger } from "pino";
import type { StatusError } from "../errors.ts";
import { loggable } from "../runtime/redact.ts";

/** Longest cause of a refusal in the log, in characters: it may repeat what a stranger has sent. */
const MAX_WHY = 500;

/**
 * Writes down what calls end with, each once: failures as errors; as warnings what speaks of an attack or
 * of damage, with how many there were since the start (`alarms`); other refusals as information, in short,
 * for strangers can cause any number of them. Nothing secret is in what it writes (`loggable`), whatever a
 * handler has thrown and whatever the log itself redacts.
 *
 * Never throws: an error that the log cannot write, or a log that fails, costs its line and no call.
 */
export function failureLog(log: Logger | undefined): (method: string, error: StatusError) => void {
  let alarms = 0;
  const write = (method: string, { reason, code, details }: StatusError) => {
    const { alarm, cause } = details;
    if (alarm) {
      alarms += 1;
      const entry = { method, reason, code, err: loggable(cause), alarms };
      log?.warn(entry, "call refused: something is wrong");
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
        // Such as a getter that throws.
        log?.error({ method }, "call failed; its error cannot be written to the log");
      } catch {
        // The log itself has failed: there is nowhere else to say so.
      }
    }
  };
}

function whyOf(cause: unknown): unknown {
  // V8's message repeats a part of the text that is no JSON: here that is a part of a credential.
  if (cause instanceof SyntaxError) return "not JSON";
  const message = cause instanceof Error ? cause.message : cause;
  return typeof message === "string" ? message.slice(0, MAX_WHY) : message;
}
