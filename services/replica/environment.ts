import { readFileSync } from "node:fs";
import { ConfigError } from "./failure.ts";

/** The variables that these programs read. */
const OWN = /^(WAYBILL_|DATABASE_URL$)/;
const CONTROL_CHARACTER = /\p{Cc}/u;
const MIN_SECRET_LENGTH = 32;

/** Variables by name. */
export type Variables = Readonly<Record<string, string | undefined>>;

/**
 * Reads the variables of these programs from an environment. One line break at the end of a value is
 * dropped: a Kubernetes secret that was made from a file has it. Any other control character would end up
 * in an address, a password or a header.
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

/** @throws ConfigError naming the variable, and why it is required */
export function required(variables: Variables, name: string, why?: string): string {
  const value = variables[name];
  if (value) return value;
  throw new ConfigError(`${name} is not set${why === undefined ? "" : `: ${why}`}`);
}

/** Reads one of some words; the first by default. @throws ConfigError naming the variable */
export function readChoice<const Choice extends string>(
  variables: Variables,
  name: string,
  choices: readonly [Choice, ...Choice[]],
): Choice {
  const value = variables[name] ?? choices[0];
  const chosen = choices.find((choice) => choice === value);
  if (chosen !== undefined) return chosen;
  throw new ConfigError(`${name}=${value}: expected ${choices.join(" or ")}`);
}

/**
 * Reads a file with one secret, as `readVariables` reads a value.
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
