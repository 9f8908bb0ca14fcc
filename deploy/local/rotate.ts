import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { Failure } from "./failure.ts";
import { PROJECT } from "./paths.ts";
import type { RunningReplica } from "./replicas.ts";

/** A ring after its rotation. */
export interface Rotated {
  version: number;
  /** The key that seals from now on. */
  activeKeyId: string;
}

/** Runs the program that rotates a ring, against a replica. @param env the replicas' environment */
export async function rotate(
  audience: string,
  replicas: readonly RunningReplica[],
  env: Record<string, string>,
): Promise<Rotated> {
  const target = replicas.map(({ address }) => address).join(",");
  const args = [join(PROJECT, "services", "rotate.ts"), audience];
  const options = { env: { ...process.env, ...env, WAYBILL_KEYS_ADDRESS: `ipv4:${target}` } };
  try {
    const { stdout } = await promisify(execFile)(process.execPath, args, options);
    return JSON.parse(stdout) as Rotated;
  } catch (error) {
    const said = (error as { stderr?: string }).stderr?.trim().replace(/^waybill rotate: /, "");
    throw new Failure(`the ring of ${audience} was not rotated: ${said || error}`);
  }
}
