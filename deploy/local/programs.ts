import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import type { Children } from "./children.ts";
import { programEnvironment } from "./environment.ts";
import { Failure } from "./failure.ts";
import { COMPILE_CACHE, PROJECT } from "./paths.ts";
import type { RunningReplica } from "./replicas.ts";

/** Addresses and settings that a program finds the cluster by. */
export interface Surroundings {
  readonly children: Children;
  readonly replicas: readonly RunningReplica[];
  /** The replicas' environment. */
  readonly env: Record<string, string>;
}

/** A ring after its rotation. */
export interface Rotated {
  version: number;
  /** The key that seals from now on. */
  activeKeyId: string;
  /** Replicas that had not heard of a destroyed key three seconds later. */
  unaware: string[];
}

/** Rotates a ring. @param destroyKeyId a key that has leaked: destroyed, and its waybills refused */
export async function rotate(
  audience: string,
  around: Surroundings,
  destroyKeyId?: string,
): Promise<Rotated> {
  const more = destroyKeyId === undefined ? [] : [`--destroy=${destroyKeyId}`];
  const { said } = await run("rotate", [audience, ...more], around);
  return JSON.parse(said) as Rotated;
}

/** Where the sessions of an audience stand. */
export type AnchorPlace = "own" | "session";

/**
 * Holds waybills against the lines of their sessions' advances.
 *
 * @returns the findings, JSON a line, in the order of the waybills
 */
export async function audit(
  audience: string,
  waybills: readonly string[],
  around: Surroundings,
  anchor: AnchorPlace = "own",
): Promise<string> {
  return (await run("audit", [audience, "--anchor", anchor], around, waybills.join("\n"), [0, 3]))
    .said;
}

/** Runs a program of services/ against the cluster. */
async function run(
  program: string,
  args: string[],
  { children, replicas, env }: Surroundings,
  input = "",
  codes = [0],
): Promise<{ said: string }> {
  const target = replicas.map(({ address }) => address).join(",");
  const said: string[] = [];
  const { code, complaint } = await runProgram(children, program, {
    args,
    env: { ...env, WAYBILL_KEYS_ADDRESS: `ipv4:${target}` },
    input,
    hear: (line) => said.push(`${line}\n`),
  });
  if (code !== null && codes.includes(code)) return { said: said.join("") };
  throw new Failure(`${program} ${args.join(" ")}: ${complaint || `ended with ${code}`}`);
}

/** How a program of services/ is run. */
export interface Run {
  readonly args?: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Its standard input. */
  readonly input?: string;
  /** Called with each line of its standard output. */
  hear(line: string): void;
}

/** How a program of services/ ended. */
export interface Ran {
  /** Null when a signal ended it. */
  readonly code: number | null;
  /** Its standard error, without its name. */
  readonly complaint: string;
}

/** Runs a program of services/ to its end. It ends with the runner if the runner stops before. */
export async function runProgram(
  children: Children,
  program: string,
  { args = [], env, input = "", hear }: Run,
): Promise<Ran> {
  const file = join(PROJECT, "services", "replica", `${program}.ts`);
  const child = await children.start(process.execPath, [file, ...args], {
    stdio: ["pipe", "pipe", "pipe"],
    env: programEnvironment({ NODE_COMPILE_CACHE: COMPILE_CACHE, ...env }),
  });
  const { stdin, stdout, stderr } = child.process;
  stdin!.on("error", () => {});
  stdin!.end(input);
  const lines = createInterface({ input: stdout! });
  lines.on("line", hear);
  const heard = new Promise((resolve) => lines.once("close", resolve));
  const [said, { code }] = await Promise.all([text(stderr!), child.exited, heard]);
  return { code, complaint: said.trim().replace(new RegExp(`^waybill ${program}: `), "") };
}
