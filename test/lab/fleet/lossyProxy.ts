import { connect, createServer, type Socket } from "node:net";

const FRAME_HEAD = 9;
const HEADERS = 1;

/** A TCP proxy that loses responses and can add latency. */
export interface LossyProxy {
  readonly target: string;
  /** Lost responses: the calls were committed, and the callers got no response. */
  readonly lost: () => number;
  readonly passed: () => number;
  /** Delays all further data in both directions by so many ms; 0: no delay. */
  slow(delayMs: number): void;
  close(): Promise<void>;
}

/**
 * Starts a proxy between callers and the front proxy. It cuts a connection at the start of a response: the
 * call was served, and its caller gets no response.
 *
 * @param loses decides for each response
 */
export async function startLossyProxy(target: string, loses: () => boolean): Promise<LossyProxy> {
  const [host, port] = target.split(":") as [string, string];
  const sockets = new Set<Socket>();
  let lost = 0;
  let passed = 0;
  let delayMs = 0;
  const server = createServer((caller) => {
    const door = connect(Number(port), host);
    const answered = new Set<number>();
    const cut = () => {
      caller.destroy();
      door.destroy();
    };
    for (const socket of [caller, door]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", cut);
      socket.on("close", () => {
        sockets.delete(socket);
        cut();
      });
    }
    const toDoor = inOrder(() => delayMs);
    const toCaller = inOrder(() => delayMs);
    caller.on("data", (bytes: Buffer) => toDoor(() => door.write(bytes)));
    const frames = new Frames((type, stream) => {
      // The first HEADERS frame of a stream begins its response; the second one ends it.
      if (type !== HEADERS || answered.has(stream)) return true;
      answered.add(stream);
      if (!loses()) {
        passed += 1;
        return true;
      }
      lost += 1;
      return false;
    });
    door.on("data", (bytes: Buffer) => {
      if (!frames.take(bytes)) cut();
      else toCaller(() => caller.write(bytes));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address() as { port: number };
  return {
    target: `127.0.0.1:${address.port}`,
    lost: () => lost,
    passed: () => passed,
    slow(ms) {
      delayMs = ms;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Runs tasks in order, each after the current delay. */
function inOrder(delayMs: () => number): (work: () => void) => void {
  const waiting: (() => void)[] = [];
  return (work) => {
    const ms = delayMs();
    if (ms === 0 && waiting.length === 0) {
      work();
      return;
    }
    waiting.push(work);
    setTimeout(() => waiting.shift()!(), ms);
  };
}

/** Parses the headers of HTTP/2 frames (RFC 9113 section 4.1) from a stream of bytes. */
class Frames {
  readonly #saw: (type: number, stream: number) => boolean;
  #head = Buffer.alloc(0);
  #skip = 0;

  /** @param saw returns false to stop */
  constructor(saw: (type: number, stream: number) => boolean) {
    this.#saw = saw;
  }

  take(bytes: Buffer): boolean {
    let rest = bytes;
    while (rest.length > 0) {
      const skipped = Math.min(this.#skip, rest.length);
      this.#skip -= skipped;
      rest = rest.subarray(skipped);
      if (rest.length === 0) return true;
      const missing = FRAME_HEAD - this.#head.length;
      this.#head = Buffer.concat([this.#head, rest.subarray(0, missing)]);
      rest = rest.subarray(missing);
      if (this.#head.length < FRAME_HEAD) return true;
      const head = this.#head;
      this.#head = Buffer.alloc(0);
      this.#skip = head.readUIntBE(0, 3);
      if (!this.#saw(head[3]!, head.readUInt32BE(5) & 0x7fff_ffff)) return false;
    }
    return true;
  }
}
