import { randomInt } from "node:crypto";
import { createServer } from "node:net";
import { Failure } from "../../../services/replica/failure.ts";

/**
 * Where free ports are looked for: below those that systems give to outgoing connections, which could
 * take one between the look and its use.
 */
const LOWEST = 20_000;
const HIGHEST = 32_000;
const ATTEMPTS = 100;

/** Ports handed out; their programs may not listen yet. */
const given = new Set<number>();

/** Returns a free port of the loopback interface that this process has not handed out before. */
export async function freePort(): Promise<number> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const port = randomInt(LOWEST, HIGHEST);
    if (given.has(port)) continue;
    // Before the look: others may look at the same time.
    given.add(port);
    if (await isFree(port)) return port;
  }
  throw new Failure(`no port from ${LOWEST} to ${HIGHEST} of 127.0.0.1 is free`);
}

/** Takes the port given with `flag`; 0: a free one. @throws Failure if it is in use */
export async function takePort(flag: string, port: number): Promise<number> {
  if (port === 0) return freePort();
  if (await isFree(port)) return port;
  throw new Failure(`port ${port} is in use: stop what uses it, or choose another with ${flag}`);
}

/** @throws Failure when it can't be listened on for another reason than that it is taken */
function isFree(port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", ({ code }: NodeJS.ErrnoException) => {
      if (code === "EADDRINUSE") resolve(false);
      else reject(new Failure(`cannot listen on 127.0.0.1:${port} (${code}): choose another port`));
    });
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
