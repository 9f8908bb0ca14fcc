import { inspect } from "node:util";

/** A problem that a person can solve: its message names the way out, and is printed without a stack. */
export class Failure extends Error {
  readonly exitCode: 1 | 2 = 1;
}

/** A bad flag, argument or variable: its name, and the expected value. */
export class ConfigError extends Failure {
  override readonly exitCode = 2;
}

/**
 * Prints why a program ends on stderr, and ends it: with 2 for a bad flag or variable, otherwise with 1.
 * Prints the stack at the log levels debug and trace.
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
