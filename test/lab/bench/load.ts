import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { toolPath } from "../../../deploy/local/tools.ts";

/** The method and its load. */
export interface Load {
  readonly target: string;
  readonly method: string;
  /** Path of the descriptor set with the method. */
  readonly protoset: string;
  readonly calls: number;
  /**
   * Calls that start per second, on schedule, regardless of responses. Default: as fast as responses arrive.
   */
  readonly perS?: number;
  /** Number of connections. Default: 4. */
  readonly connections?: number;
  /** Calls in flight. Default: 32. */
  readonly inFlight?: number;
  /** Metadata, used in rotation. Default: none. */
  readonly metadata?: readonly Record<string, string>[];
  /** Encoded messages, used in rotation. Default: an empty one. */
  readonly messages?: readonly Uint8Array[];
}

export interface LoadResult {
  readonly calls: number;
  readonly perS: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** One call of a mix. */
export interface MixedCall {
  readonly method: string;
  readonly message: Uint8Array;
}

/** Calls of several methods: each is made once, in order, as fast as responses arrive. */
export interface MixedLoad extends Pick<Load, "target" | "connections" | "inFlight" | "metadata"> {
  readonly mixed: readonly MixedCall[];
}

export interface MixedResult extends LoadResult {
  /** Responses with an age: they were cached. */
  readonly aged: number;
}

/** @throws Error that names the statuses if a call failed */
export function putLoad(load: Load): Promise<LoadResult> {
  return generate(load.method, load, {
    method: load.method,
    protoset: load.protoset,
    calls: load.calls,
    rps: load.perS ?? 0,
    messages: (load.messages ?? [new Uint8Array()]).map(base64),
  });
}

/** @throws Error that names the statuses if a call failed */
export function putMixedLoad(load: MixedLoad): Promise<MixedResult> {
  const mixed = load.mixed.map(({ method, message }) => ({ method, message: base64(message) }));
  return generate("a mix of calls", load, { mixed });
}

async function generate(
  what: string,
  { target, connections = 4, inFlight = 32, metadata = [] }: Omit<MixedLoad, "mixed">,
  job: object,
): Promise<MixedResult> {
  const program = toolPath("waybill-load");
  if (program === undefined) throw new Error("the load generator is missing: npm run tools");
  const child = spawn(program, { stdio: ["pipe", "pipe", "inherit"] });
  const kill = () => child.kill();
  process.once("exit", kill);
  // If it ends before it has read its input, its exit code tells.
  child.stdin.on("error", () => {});
  const output = text(child.stdout);
  child.stdin.end(JSON.stringify({ target, connections, concurrency: inFlight, metadata, ...job }));
  const [code] = (await once(child, "exit")) as [number | null];
  process.off("exit", kill);
  if (code !== 0) throw new Error(`the load generator ended with ${code}`);
  const result = JSON.parse(await output) as MixedResult & { statuses: Record<string, number> };
  if (result.statuses["OK"] !== result.calls) {
    throw new Error(`${what}: ${JSON.stringify(result)}`);
  }
  return result;
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}
