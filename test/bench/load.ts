import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { toolPath } from "../../deploy/local/tools.ts";

/** What is called, and how. */
export interface Load {
  readonly target: string;
  /** `package.Service/Method`. */
  readonly method: string;
  /** A file: the descriptor set that has the method. */
  readonly protoset: string;
  readonly calls: number;
  /** How many calls begin in a second, at their time, whoever waits. Default: as many as are answered. */
  readonly perS?: number;
  /** Default: 4. */
  readonly connections?: number;
  /** How many calls are under way at a time. Default: 32. */
  readonly inFlight?: number;
  /** Of each call in turn. Default: none. */
  readonly metadata?: readonly Record<string, string>[];
  /** Encoded; of each call in turn. Default: an empty one. */
  readonly messages?: readonly Uint8Array[];
}

export interface LoadResult {
  readonly calls: number;
  readonly perS: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** @throws Error naming the statuses when a call has failed */
export async function putLoad(load: Load): Promise<LoadResult> {
  const program = toolPath("waybill-load");
  if (program === undefined) throw new Error("the load generator is missing: npm run tools");
  const child = spawn(program, { stdio: ["pipe", "pipe", "inherit"] });
  const kill = () => child.kill();
  process.once("exit", kill);
  // Where it has ended before it has read all, its exit code says so.
  child.stdin.on("error", () => {});
  const output = text(child.stdout);
  child.stdin.end(
    JSON.stringify({
      target: load.target,
      method: load.method,
      protoset: load.protoset,
      calls: load.calls,
      rps: load.perS ?? 0,
      connections: load.connections ?? 4,
      concurrency: load.inFlight ?? 32,
      metadata: load.metadata ?? [],
      messages: (load.messages ?? [new Uint8Array()]).map((bytes) =>
        Buffer.from(bytes).toString("base64"),
      ),
    }),
  );
  const [code] = (await once(child, "exit")) as [number | null];
  process.off("exit", kill);
  if (code !== 0) throw new Error(`the load generator ended with ${code}`);
  const result = JSON.parse(await output) as LoadResult & { statuses: Record<string, number> };
  if (result.statuses["OK"] !== result.calls) {
    throw new Error(`${load.method}: ${JSON.stringify(result)}`);
  }
  return result;
}
