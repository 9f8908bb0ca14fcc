import { inspect } from "node:util";

/** A bad flag or variable: its name, and what was expected. */
export class ConfigError extends Error {}

/**
 * Says on stderr why a program ends, and ends it: with 2 where its flags or its environment are off,
 * and otherwise with 1. The stack is shown at the log levels debug and trace.
 */
export function fail(program: string, error: unknown): never {
  const isUsage =
    error instanceof ConfigError ||
    String((error as NodeJS.ErrnoException).code).startsWith("ERR_PARSE_ARGS");
  const verbose = ["debug", "trace"].includes(process.env["WAYBILL_LOG_LEVEL"] ?? "");
  const hint = isUsage ? "\nSee --help." : "";
  process.stderr.write(`waybill ${program}: ${verbose ? inspect(error) : causes(error)}${hint}\n`);
  process.exit(isUsage ? 2 : 1);
}

/** Joins an error's message and those of its causes. */
export function causes(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${error.message}: ${causes(error.cause)}`;
}
