import { chmodSync, rmSync } from "node:fs";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Failure } from "../../services/replica/failure.ts";
import { shortName } from "./secrets/credentials.ts";

/** Commands that a running cluster accepts. */
export type Command = { command: "scale"; replicas: number } | { command: "status" };

/** A line of its answer; the last one has `result` or `error`. */
export type Answer = { progress: string } | { result: unknown } | { error: string };

/** Longest path that a socket may have, in bytes, on any system. */
const MAX_SOCKET_PATH = 100;

/** Where the cluster of a data directory listens for commands. */
export function controlPath(dataDir: string): string {
  const path = join(dataDir, "control.sock");
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH) return path;
  return join(tmpdir(), `waybill-${process.getuid?.() ?? 0}-${shortName(dataDir)}.sock`);
}

/** Reports whether a cluster runs on this data directory. */
export async function isRunning(dataDir: string): Promise<boolean> {
  const socket = createConnection(controlPath(dataDir));
  return new Promise((resolve) => {
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

/** Listens for commands, JSON a line each. Only the owner of the data directory can send one. */
export async function listenForCommands(
  dataDir: string,
  run: (command: Command, progress: (line: string) => void) => Promise<unknown>,
): Promise<Server> {
  const path = controlPath(dataDir);
  rmSync(path, { force: true });
  const server = createServer((socket) => {
    socket.on("error", () => {});
    const answer = (line: Answer) => socket.write(`${JSON.stringify(line)}\n`);
    createInterface({ input: socket }).once("line", (line) => {
      Promise.resolve()
        .then(() => run(JSON.parse(line) as Command, (progress) => answer({ progress })))
        .then(
          (result) => answer({ result }),
          (error: Error) => answer({ error: error.message }),
        )
        .finally(() => socket.end());
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  chmodSync(path, 0o600);
  return server;
}

/**
 * Sends a command to the running cluster.
 *
 * @param progress receives progress lines
 * @throws Failure if no cluster runs there, or with the cluster's error
 */
export async function sendCommand(
  dataDir: string,
  command: Command,
  progress: (line: string) => void,
): Promise<unknown> {
  const socket = await connect(dataDir);
  socket.write(`${JSON.stringify(command)}\n`);
  for await (const line of createInterface({ input: socket })) {
    const answer = JSON.parse(line) as Answer;
    if ("progress" in answer) progress(answer.progress);
    else if ("error" in answer) throw new Failure(answer.error);
    else return answer.result;
  }
  throw new Failure("the cluster ended before it answered");
}

function connect(dataDir: string): Promise<Socket> {
  const socket = createConnection(controlPath(dataDir));
  return new Promise((resolve, reject) => {
    socket.once("connect", () => resolve(socket));
    socket.once("error", () =>
      reject(new Failure(`no cluster runs on ${dataDir}: start one with npm start`)),
    );
  });
}
