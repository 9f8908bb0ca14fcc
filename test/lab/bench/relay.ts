import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { toolPath } from "../../../deploy/local/tools.ts";

/** TCP payload that passed a relay, in bytes. */
export interface Passed {
  readonly toTarget: number;
  readonly fromTarget: number;
}

/** A TCP relay process. */
export interface Relay {
  /** Listening addresses, one per target. */
  readonly address: string;
  passed(): Promise<Passed>;
  end(): Promise<void>;
}

/** @param delayUs delay in each direction. Default: none */
export async function startRelay(target: string, delayUs = 0): Promise<Relay> {
  const program = toolPath("waybill-relay");
  if (program === undefined) throw new Error("the relay is missing: npm run tools");
  const args = delayUs > 0 ? [target, `${delayUs}us`] : [target];
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
  // If it ended, its output names the reason.
  child.stdin.on("error", () => {});
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error("the relay has ended");
    return value;
  };
  return {
    address: await next(),
    async passed() {
      child.stdin.write("\n");
      const [toTarget, fromTarget] = (await next()).split(" ").map(Number) as [number, number];
      return { toTarget, fromTarget };
    },
    end: () => ended(child),
  };
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  // It ends with its input.
  child.stdin!.end();
  await exited;
}
