import { createServer } from "node:net";
import { Failure } from "./failure.ts";

/** A port of the loopback interface that is free now. */
export function freePort(): Promise<number> {
  return probe(0);
}

/** A port that somebody chose. @param flag how @param port 0: a free one @throws Failure when it is taken */
export async function takePort(flag: string, port: number): Promise<number> {
  try {
    return await probe(port);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EADDRINUSE") {
      throw new Failure(
        `port ${port} is in use: stop what uses it, or choose another with ${flag}`,
      );
    }
    throw new Failure(`cannot listen on 127.0.0.1:${port} (${code}): choose another with ${flag}`);
  }
}

function probe(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => {
      const address = server.address();
      const taken = typeof address === "object" && address !== null ? address.port : port;
      server.close(() => resolve(taken));
    });
  });
}
