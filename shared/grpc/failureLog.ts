import type { Logger } from "pino";
import type { StatusError } from "../errors/errors.ts";

/**
 * Writes down what calls end with, each once: failures as errors; as warnings what speaks of an attack or
 * of damage, with how many there were since the start (`alarms`); other refusals as information, in short,
 * for strangers can cause any number of them.
 */
export function failureLog(log: Logger | undefined): (method: string, error: StatusError) => void {
  let alarms = 0;
  return (method, { reason, code, details }) => {
    const { alarm, cause } = details;
    if (alarm) {
      alarms += 1;
      const entry = { method, reason, code, err: cause, alarms };
      log?.warn(entry, "call refused: something is wrong");
    } else if (reason === "INTERNAL") {
      log?.error({ method, reason, code, err: cause }, "call failed");
    } else {
      const why = cause instanceof Error ? cause.message : cause;
      log?.info({ method, reason, code, why }, "call refused");
    }
  };
}
