import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { COMPILE_CACHE } from "../../../../deploy/local/paths.ts";
import { NODE_FLAGS } from "../../../../deploy/local/processes/replicas.ts";
import type { PeerSettings } from "./peer.ts";

/** A peer's process. */
export interface Peer {
  readonly address: string;
  readonly pid: number;
  /** Bytes on and off its heap after garbage collection; needs `--expose-gc`. */
  heldBytes(): Promise<number>;
  end(): Promise<void>;
}

/** @param execArgv options of Node besides a replica's, such as for a profile. Default: none */
export async function startPeer(
  kind: string,
  settings: PeerSettings = {},
  execArgv: readonly string[] = [],
): Promise<Peer> {
  const args = [kind, JSON.stringify(settings)];
  const child = fork(join(import.meta.dirname, "serve.ts"), args, {
    execArgv: [...NODE_FLAGS, ...execArgv],
    env: { ...process.env, NODE_COMPILE_CACHE: COMPILE_CACHE },
  });
  const address = await addressOf(child, kind);
  return {
    address,
    pid: child.pid!,
    async heldBytes() {
      const answered = once(child, "message");
      child.send("settle");
      const [bytes] = (await answered) as [number];
      return bytes;
    },
    async end() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, "exit");
      if (child.connected) child.disconnect();
      await exited;
    },
  };
}

async function addressOf(process: ChildProcess, kind: string): Promise<string> {
  const [first] = await Promise.race([
    once(process, "message"),
    once(process, "exit").then(() => {
      throw new Error(`the peer ${kind} has ended before it served`);
    }),
  ]);
  return first as string;
}
