import type { Logger } from "pino";
import type { StatusError } from "../errors/errors.ts";

/**
 * Writes down what calls end with, each once: failures as errors; as warnings what speaks of an attack or
 * of damage, with how many there were since the start (`alarms`); other refusals as information, but
 * for OVERLOADED: there are most of those when there is least time to write them down.
 */
export function failureLog(log: Logger | undefined): (method: string, error: StatusError) => void {
  let alarms = 0;
  return (method, { reason, code, details }) => {
    const entry = { method, reason, code, err: details.cause };
    if (details.alarm) {
      alarms += 1;
      log?.warn({ ...entry, alarms }, "call refused: something is wrong");
    } else if (reason === "INTERNAL") log?.error(entry, "call failed");
    else if (reason === "OVERLOADED") log?.debug(entry, "call refused");
    else log?.info(entry, "call refused");
  };
}
