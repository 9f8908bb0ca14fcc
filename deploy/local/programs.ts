import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { Failure } from "./failure.ts";
import { PROJECT } from "./paths.ts";
import type { RunningReplica } from "./replicas.ts";

/** Where a program finds the cluster. */
export interface Surroundings {
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
  { replicas, env }: Surroundings,
  input = "",
  codes = [0],
): Promise<{ said: string }> {
  const target = replicas.map(({ address }) => address).join(",");
  const child = spawn(process.execPath, [join(PROJECT, "services", `${program}.ts`), ...args], {
    env: { ...process.env, ...env, WAYBILL_KEYS_ADDRESS: `ipv4:${target}` },
  });
  child.stdin.on("error", () => {});
  child.stdin.end(input);
  const [said, complaint, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, "close"),
  ]);
  if (codes.includes(code as number)) return { said };
  const why = complaint.trim().replace(new RegExp(`^waybill ${program}: `), "");
  throw new Failure(`${program} ${args.join(" ")}: ${why || `ended with ${code}`}`);
}
