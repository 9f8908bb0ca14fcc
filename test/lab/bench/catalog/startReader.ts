import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { COMPILE_CACHE } from "../../../../deploy/local/paths.ts";
import type { LoadResult, MixedCall } from "../load.ts";
import type { Reads } from "./reads.ts";

/** A reader's arguments; messages in base64. */
export interface Prepare {
  readonly hot: readonly { readonly method: string; readonly message: string }[];
  readonly calls: readonly { readonly method: string; readonly message: string }[];
}

/** Results of a run. */
export interface ReaderResult extends LoadResult {
  /** Responses with an age: they were cached. */
  readonly aged: number;
  /** Hits of the client's cache. Undefined: it has none. */
  readonly kept?: number | undefined;
}

/** A reader's process. */
export interface Reader {
  readonly pid: number;
  /** Fills its caches with the repeated reads and prepares a run. */
  prepare(reads: Reads): Promise<void>;
  run(): Promise<ReaderResult>;
  end(): Promise<void>;
}

export async function startReader(
  address: string,
  credentialsDir: string,
  kind: "cache" | "none",
): Promise<Reader> {
  const child = fork(join(import.meta.dirname, "reader.ts"), [address, credentialsDir, kind], {
    env: { ...process.env, NODE_COMPILE_CACHE: COMPILE_CACHE },
  });
  const exited = once(child, "exit");
  const answer = async (): Promise<unknown> => {
    const failed = exited.then(() => {
      throw new Error("the reader of the catalog has ended: why stands above");
    });
    const [message] = await Promise.race([once(child, "message"), failed]);
    return message;
  };
  await answer();
  const encoded = (calls: readonly MixedCall[]) =>
    calls.map(({ method, message }) => ({
      method,
      message: Buffer.from(message).toString("base64"),
    }));
  return {
    pid: child.pid!,
    async prepare({ hot, calls }) {
      const answered = answer();
      child.send({ hot: encoded(hot), calls: encoded(calls) } satisfies Prepare);
      await answered;
    },
    async run() {
      const answered = answer();
      child.send("run");
      return (await answered) as ReaderResult;
    },
    async end() {
      if (child.connected) child.disconnect();
      await exited;
    },
  };
}
