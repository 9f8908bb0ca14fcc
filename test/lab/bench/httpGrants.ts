import { Agent, request } from "node:http";
import { cpuSecondsOfTree } from "./processTimes.ts";

/** A token endpoint over HTTP (RFC 6749 section 4.4). */
export interface TokenEndpoint {
  readonly port: number;
  readonly path: string;
  /** The form to send. */
  readonly body: string;
}

/** Requests tokens, and returns the CPU of one grant in a process and its descendants, in µs. */
export async function measureGrants(
  endpoint: TokenEndpoint,
  pid: number,
  calls: number,
  concurrency: number,
): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: concurrency });
  const before = cpuSecondsOfTree(pid);
  let left = calls;
  const worker = async () => {
    while (left-- > 0) await grant(agent, endpoint);
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  agent.destroy();
  return ((cpuSecondsOfTree(pid) - before) / calls) * 1e6;
}

function grant(agent: Agent, { port, path, body }: TokenEndpoint): Promise<void> {
  const headers = {
    "content-type": "application/x-www-form-urlencoded",
    "content-length": body.length,
  };
  return new Promise((resolve, reject) => {
    const options = { agent, port, host: "127.0.0.1", path, method: "POST", headers };
    const sent = request(options, (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.on("end", () => {
        if (response.statusCode === 200) resolve();
        else reject(new Error(Buffer.concat(parts).toString("utf8")));
      });
    });
    sent.on("error", reject);
    sent.end(body);
  });
}
