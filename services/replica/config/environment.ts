import { readFileSync } from "node:fs";
import { ConfigError } from "../failure.ts";

/** The variables that these programs read. */
const OWN = /^(WAYBILL_|DATABASE_URL$)/;
const CONTROL_CHARACTER = /\p{Cc}/u;
const MIN_SECRET_LENGTH = 32;

/** Variables by name. */
export type Variables = Readonly<Record<string, string | undefined>>;

/**
 * Reads the variables of these programs from an environment. Drops one line break at the end of a value,
 * as a Kubernetes secret made from a file has it. Refuses any other control character: it would end up in
 * an address, a password or a header.
 *
 * @throws ConfigError naming the variable, without its value, which may be a secret
 */
export function readVariables(env: NodeJS.ProcessEnv): Variables {
  const variables: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && OWN.test(name)) variables[name] = cleanText(name, value);
  }
  return variables;
}

/** Reads a required value. @throws ConfigError naming it, and why it is required */
export function required(values: Variables, name: string, why?: string): string {
  const value = values[name];
  if (value) return value;
  throw new ConfigError(`${name} is not set${why === undefined ? "" : `: ${why}`}`);
}

/** Returns the only argument of a command line. @throws ConfigError with the expected arguments */
export function onlyArgument(args: readonly string[], expected: string): string {
  const [argument, ...rest] = args;
  if (argument !== undefined && rest.length === 0) return argument;
  throw new ConfigError(expected);
}

/** Reads a whole number. @throws ConfigError naming the variable and its bounds */
export function readWhole(
  values: Variables,
  name: string,
  fallback: number,
  min: number,
  max: number,
): number {
  const text = values[name];
  const value = text === undefined ? fallback : Number(text);
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new ConfigError(`${name}=${text}: expected a whole number from ${min} to ${max}`);
}

/** Reads one of the choices; default: the first. @throws ConfigError naming the variable and the choices */
export function readChoice<const Choice extends string>(
  values: Variables,
  name: string,
  choices: readonly [Choice, ...Choice[]],
): Choice {
  const value = values[name] ?? choices[0];
  const chosen = choices.find((choice) => choice === value);
  if (chosen !== undefined) return chosen;
  throw new ConfigError(`${name}=${value}: expected ${choices.join(" or ")}`);
}

/**
 * Reads a file with one secret, with the rules of `readVariables`.
 *
 * @param name of the variable that names the file
 * @throws ConfigError naming the variable, the file and the rule
 */
export function readSecretFile(name: string, file: string): string {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new ConfigError(`${name}=${file}: ${(error as Error).message}`);
  }
  const secret = cleanText(`${name}=${file}`, text);
  if (secret.length >= MIN_SECRET_LENGTH) return secret;
  throw new ConfigError(`${name}=${file}: expected ${MIN_SECRET_LENGTH} characters or more`);
}

function cleanText(name: string, text: string): string {
  const clean = text.replace(/\r?\n$/, "");
  if (!CONTROL_CHARACTER.test(clean)) return clean;
  throw new ConfigError(
    `${name}: expected text on one line without control characters; one line break at the end is dropped`,
  );
}
