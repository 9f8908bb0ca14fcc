import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { PeerSettings } from "./peer.ts";

/** A peer's process. */
export interface Peer {
  readonly address: string;
  readonly pid: number;
  end(): Promise<void>;
}

/** @param execArgv options of Node, such as those of a profile. Default: none */
export async function startPeer(
  kind: string,
  settings: PeerSettings = {},
  execArgv: readonly string[] = [],
): Promise<Peer> {
  const args = [kind, JSON.stringify(settings)];
  const process = fork(join(import.meta.dirname, "serve.ts"), args, { execArgv: [...execArgv] });
  const address = await addressOf(process, kind);
  return {
    address,
    pid: process.pid!,
    async end() {
      if (process.exitCode !== null || process.signalCode !== null) return;
      const exited = once(process, "exit");
      if (process.connected) process.disconnect();
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
