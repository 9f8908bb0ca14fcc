import { once } from "node:events";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
  sensitiveHeaders,
} from "node:http2";
import { deflateSync, gzipSync } from "node:zlib";
import {
  Client,
  credentials,
  type handleUnaryCall,
  Metadata,
  Server,
  ServerCredentials,
  status,
} from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readError } from "../../errors.ts";
import type { UnaryCall, UnaryMethod } from "./unaryCall.ts";
import { UnaryWire } from "./unaryWire.ts";

const PATH = "/a.B/Call";
const MAX_BYTES = 1000;

type Handle = UnaryMethod["handle"];
const echo: Handle = (call, callback) => callback(null, call.request);

/** The same method on a wire of its own, and as grpc-js serves it. */
const WAYS = ["wire", "grpc-js"] as const;
type Way = (typeof WAYS)[number];

let handle: Handle;
/** Calls that the wire has served. */
let served: UnaryCall[];
let servers: Server[];
let sessions: ClientHttp2Session[];

async function serve(way: Way): Promise<string> {
  const server = new Server({ "grpc.max_receive_message_length": MAX_BYTES });
  servers.push(server);
  const asIs = (bytes: Buffer) => bytes;
  const handler: handleUnaryCall<Buffer, Buffer> = (call, callback) =>
    handle(call as never, callback as never);
  server.register(PATH, handler as never, asIs, asIs, "unary");
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  if (way === "wire") {
    const wire = new UnaryWire();
    wire.add({
      path: PATH,
      maxBytes: MAX_BYTES,
      serialize: asIs as UnaryMethod["serialize"],
      handle: (call, callback) => {
        served.push(call);
        handle(call, callback);
      },
    });
    wire.attach(server);
  }
  return `127.0.0.1:${port}`;
}

beforeEach(() => {
  handle = echo;
  served = [];
  servers = [];
  sessions = [];
});
afterEach(() => {
  for (const session of sessions) session.destroy();
  for (const server of servers) server.forceShutdown();
});

function frame(message: Buffer | string, flag = 0): Buffer {
  const bytes = Buffer.from(message);
  const head = Buffer.alloc(5);
  head[0] = flag;
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

interface Answer {
  headers: IncomingHttpHeaders;
  body: Buffer;
  trailers: IncomingHttpHeaders;
  status: string | undefined;
}

function reasonOf({ headers }: Answer): string | undefined {
  const metadata = Metadata.fromHttp2Headers(headers);
  return readError({ code: Number(headers["grpc-status"]), details: "", metadata }).reason;
}

/** Sends each chunk by itself, unchanged. */
async function ask(
  target: string,
  chunks: readonly Buffer[],
  headers: Record<string, string> = {},
): Promise<Answer> {
  const session = connect(`http://${target}`);
  sessions.push(session);
  const stream = session.request({
    ":method": "POST",
    ":path": PATH,
    "content-type": "application/grpc",
    te: "trailers",
    ...headers,
  });
  let trailers: IncomingHttpHeaders = {};
  stream.on("trailers", (last) => {
    trailers = last;
  });
  const responded = once(stream, "response") as Promise<[IncomingHttpHeaders]>;
  for (const chunk of chunks) await new Promise<void>((sent) => stream.write(chunk, () => sent()));
  stream.end();
  const [initial] = await responded;
  const body = Buffer.concat(await stream.toArray());
  return {
    headers: initial,
    body,
    trailers,
    status: (trailers["grpc-status"] ?? initial["grpc-status"]) as string | undefined,
  };
}

function call(
  target: string,
  metadata = new Metadata(),
  options: { deadline?: number } = {},
): { done: Promise<{ message: Buffer; initial: Metadata }>; cancel: () => void } {
  const client = new Client(target, credentials.createInsecure());
  const asIs = (bytes: Buffer) => bytes;
  let initial = new Metadata();
  let cancel = () => {};
  const done = new Promise<{ message: Buffer; initial: Metadata }>((resolve, reject) => {
    const made = client.makeUnaryRequest(
      PATH,
      asIs,
      asIs,
      Buffer.from("hello"),
      metadata,
      options,
      (error, message) => {
        client.close();
        if (error) reject(error);
        else resolve({ message: message!, initial });
      },
    );
    made.on("metadata", (received) => {
      initial = received;
    });
    cancel = () => made.cancel();
  });
  return { done, cancel };
}

describe.each(WAYS)("by %s", (way) => {
  let target: string;
  let handled: number;
  beforeEach(async () => {
    target = await serve(way);
    handled = 0;
    handle = handledBy(echo);
  });
  afterEach(() => {
    // Neither way is tested in the other's place.
    expect(served.length > 0).toBe(way === "wire" && handled > 0);
  });
  const handledBy = (own: Handle): Handle => {
    return (made, callback) => {
      handled += 1;
      own(made, callback);
    };
  };

  test("a message is answered, whole or in pieces, also an empty one", async () => {
    const whole = await ask(target, [frame("hello")]);
    expect(whole).toMatchObject({ body: frame("hello"), status: "0" });
    expect(whole.headers).toMatchObject({
      ":status": 200,
      "content-type": "application/grpc+proto",
    });
    const pieces = [...frame("hello")].map((byte) => Buffer.from([byte]));
    expect(await ask(target, pieces)).toMatchObject({ body: frame("hello"), status: "0" });
    expect(await ask(target, [frame("")])).toMatchObject({ body: frame(""), status: "0" });
    const largest = frame(Buffer.alloc(MAX_BYTES, 7));
    expect(await ask(target, [largest])).toMatchObject({ body: largest, status: "0" });
  });

  test("metadata go both ways, also binary ones", async () => {
    let seen: Metadata | undefined;
    handle = handledBy((made, callback) => {
      seen = made.metadata;
      const reply = new Metadata();
      reply.set("x-answer", "yes");
      reply.set("x-bytes-bin", Buffer.from([0, 255]));
      made.sendMetadata(reply);
      callback(null, made.request);
    });
    const metadata = new Metadata();
    metadata.set("x-question", "what");
    metadata.add("x-twice", "1");
    metadata.add("x-twice", "2");
    metadata.set("x-raw-bin", Buffer.from([255, 0]));
    const { initial, message } = await call(target, metadata).done;
    expect(message.toString()).toBe("hello");
    expect(initial.get("x-answer")).toEqual(["yes"]);
    expect(initial.get("x-bytes-bin")).toEqual([Buffer.from([0, 255])]);
    expect(seen?.get("x-question")).toEqual(["what"]);
    expect(seen?.get("x-raw-bin")).toEqual([Buffer.from([255, 0])]);
    expect(seen?.get("x-twice").join()).toMatch(/^1, ?2$/);
    const own = ["grpc-timeout", "te", "content-type", "grpc-accept-encoding"];
    expect(own.filter((key) => seen!.get(key).length > 0)).toEqual([]);
  });

  test("an error is answered with its code, details and metadata, and no message", async () => {
    handle = handledBy((_made, callback) => {
      const metadata = new Metadata();
      metadata.set("x-reason", "because");
      callback({ code: status.ABORTED, details: "nö: 100%", metadata });
    });
    await expect(call(target).done).rejects.toMatchObject({
      code: status.ABORTED,
      details: "nö: 100%",
    });
    const { headers, body } = await ask(target, [frame("hello")]);
    expect(body).toHaveLength(0);
    expect(headers).toMatchObject({ "grpc-status": "10", "x-reason": "because" });
  });

  test("a response that cannot be encoded is INTERNAL", async () => {
    handle = handledBy((_made, callback) => callback(null, undefined));
    expect((await ask(target, [frame("hello")])).status).toBe(`${status.INTERNAL}`);
  });

  test("what is no single message within the limit is refused before the handler", async () => {
    expect((await ask(target, [])).status).toBe(`${status.UNIMPLEMENTED}`);
    expect((await ask(target, [frame("a"), frame("b")])).status).toBe(`${status.UNIMPLEMENTED}`);
    const tooLarge = frame(Buffer.alloc(MAX_BYTES + 1));
    expect((await ask(target, [tooLarge])).status).toBe(`${status.RESOURCE_EXHAUSTED}`);
    expect(handled).toBe(0);
  });

  test("other media types are not answered as gRPC, other methods are UNIMPLEMENTED", async () => {
    const { headers } = await ask(target, [frame("a")], { "content-type": "text/plain" });
    expect(headers[":status"]).toBe(415);
    const other = await ask(target, [frame("a")], { ":path": "/a.B/Other" });
    expect(other.status).toBe(`${status.UNIMPLEMENTED}`);
    expect(handled).toBe(0);
  });

  test("a compressed request is read", async () => {
    const answer = await ask(target, [frame(gzipSync("hello"), 1)], { "grpc-encoding": "gzip" });
    expect(answer).toMatchObject({ body: frame("hello"), status: "0" });
    expect(handled).toBe(1);
  });

  test("who gives up is heard of, and nothing that comes after it is sent", async () => {
    const { promise: entered, resolve: enter } = Promise.withResolvers<void>();
    const { promise: gone, resolve: go } = Promise.withResolvers<void>();
    handle = handledBy((made, callback) => {
      made.once("cancelled", () => {
        expect(made.cancelled).toBe(true);
        callback(null, made.request);
        go();
      });
      enter();
    });
    const { done, cancel } = call(target);
    await entered;
    cancel();
    await expect(done).rejects.toMatchObject({ code: status.CANCELLED });
    await gone;
    // The connection is as good as before.
    handle = handledBy(echo);
    expect((await call(target).done).message.toString()).toBe("hello");
  });

  describe.each([
    ["nothing", Buffer.alloc(0)],
    ["half a message", frame("hello").subarray(0, 7)],
    ["a message, but not its end", frame("hello")],
  ])("who is gone after %s", (_what, sent) => {
    test.each([
      [
        "a reset with CANCEL",
        (stream: ClientHttp2Stream) => stream.close(constants.NGHTTP2_CANCEL),
      ],
      ["a reset without error", (stream: ClientHttp2Stream) => stream.close()],
      ["his connection", (stream: ClientHttp2Stream) => stream.session?.destroy()],
    ])("by %s is answered nothing, and others are answered", async (_how, leave) => {
      handle = handledBy(echo);
      for (const headers of [{}, { "grpc-timeout": "soon" }]) {
        const session = connect(`http://${target}`);
        sessions.push(session);
        session.on("error", () => {});
        const stream = session.request({
          ":method": "POST",
          ":path": PATH,
          "content-type": "application/grpc",
          ...headers,
        });
        stream.on("error", () => {});
        await once(session, "connect");
        if (sent.length > 0) await new Promise<void>((done) => stream.write(sent, () => done()));
        // All of that has come when this has come back.
        await new Promise<void>((back) => void session.ping(() => back()));
        const closed = once(stream, "close");
        leave(stream);
        await closed;
      }
      expect(await ask(target, [frame("hello")])).toMatchObject({ status: "0" });
    });
  });

  test("a deadline is known, and ends the call when it passes", async () => {
    const { promise: expired, resolve: expire } = Promise.withResolvers<number>();
    handle = handledBy((made) => {
      const deadline = made.getDeadline();
      made.once("cancelled", () => expire(deadline));
    });
    const before = Date.now();
    const answer = ask(target, [frame("hello")], { "grpc-timeout": "50m" });
    expect((await answer).status).toBe(`${status.DEADLINE_EXCEEDED}`);
    const deadline = await expired;
    expect(deadline).toBeGreaterThanOrEqual(before + 50);
    expect(deadline).toBeLessThan(Date.now() + 50);
  });

  test("without a deadline there is none; one that makes no sense is refused", async () => {
    let deadline: number | Date | undefined;
    handle = handledBy((made, callback) => {
      deadline = made.getDeadline();
      callback(null, made.request);
    });
    await ask(target, [frame("hello")]);
    expect(deadline).toBe(Number.POSITIVE_INFINITY);
    const { status: code } = await ask(target, [frame("a")], { "grpc-timeout": "soon" });
    expect(code).toBe(`${status.INTERNAL}`);
    expect(handled).toBe(1);
  });

  test("a shutdown waits for calls under way", async () => {
    const { promise: entered, resolve: enter } = Promise.withResolvers<void>();
    const { promise: gate, resolve: open } = Promise.withResolvers<void>();
    handle = handledBy((made, callback) => {
      enter();
      void gate.then(() => callback(null, made.request));
    });
    const { done } = call(target);
    await entered;
    const closed = new Promise<void>((resolve) => servers[0]!.tryShutdown(() => resolve()));
    open();
    expect((await done).message.toString()).toBe("hello");
    await closed;
  });
});

describe("by the wire alone", () => {
  test("a message that is cut off, or compressed without saying how, is refused", async () => {
    const target = await serve("wire");
    const cut = frame("hello").subarray(0, 7);
    expect((await ask(target, [cut])).status).toBe(`${status.INTERNAL}`);
    expect((await ask(target, [frame("hello", 1)])).status).toBe(`${status.INTERNAL}`);
    const flagged = await ask(target, [frame(gzipSync("hello"), 3)], { "grpc-encoding": "gzip" });
    expect(flagged.status).toBe(`${status.INTERNAL}`);
    expect(served).toEqual([]);
  });

  test.each([
    ["gzip", gzipSync],
    ["deflate", deflateSync],
  ] as const)(
    "R2 a message that is compressed by %s is bounded by what is in it",
    async (encoding, compress) => {
      const target = await serve("wire");
      const send = (message: Buffer) =>
        ask(target, [frame(message, 1)], { "grpc-encoding": encoding });
      const whole = compress(Buffer.alloc(MAX_BYTES, 7));
      expect(await send(whole)).toMatchObject({
        status: "0",
        body: frame(Buffer.alloc(MAX_BYTES, 7)),
      });
      served = [];
      // A hundred times as large, and small enough while it is compressed.
      const bomb = await send(compress(Buffer.alloc(MAX_BYTES * 100)));
      expect(bomb.status).toBe(`${status.RESOURCE_EXHAUSTED}`);
      expect(reasonOf(bomb)).toBe("REQUEST_TOO_LARGE");
      for (const junk of [Buffer.from("junk"), whole.subarray(0, -9), Buffer.alloc(0)]) {
        const refused = await send(junk);
        expect(refused.status).toBe(`${status.INVALID_ARGUMENT}`);
        expect(reasonOf(refused)).toBe("INVALID_FIELD");
      }
      expect(served).toEqual([]);
    },
  );

  test("metadata that HTTP/2 refuses can still be answered with an error", async () => {
    const target = await serve("wire");
    handle = (made, callback) => {
      const reply = new Metadata();
      reply.set("connection", "close");
      made.sendMetadata(reply);
      try {
        callback(null, made.request);
      } catch {
        callback({ code: status.INTERNAL, details: "refused" });
      }
    };
    const { status: code } = await ask(target, [frame("hello")]);
    expect(code).toBe(`${status.INTERNAL}`);
  });

  test("R8 an error that cannot be written is still answered", async () => {
    const target = await serve("wire");
    const refused = new Metadata();
    refused.set("connection", "close");
    const broken = { toHttp2Headers: () => JSON.parse("{") } as Metadata;
    for (const [error, code, message] of [
      [{ code: status.ABORTED, details: "a\ud83d" }, status.ABORTED, "a\ufffd"],
      [{ code: status.ABORTED, details: 5 as never }, status.INTERNAL, undefined],
      [{ code: status.ABORTED, details: "a", metadata: refused }, status.INTERNAL, undefined],
      [{ code: status.ABORTED, details: "a", metadata: broken }, status.INTERNAL, undefined],
    ] as const) {
      handle = (_made, callback) => callback(error);
      const { status: answered, headers } = await ask(target, [frame("hello")]);
      expect(answered).toBe(`${code}`);
      if (message) expect(decodeURI(`${headers["grpc-message"]}`)).toBe(message);
    }
    handle = () => {
      throw new Error("a handler that throws at once");
    };
    expect((await ask(target, [frame("hello")])).status).toBe(`${status.INTERNAL}`);
    handle = echo;
    expect((await ask(target, [frame("hello")])).status).toBe("0");
  });

  test("a key is looked up without making metadata of all, and a waybill goes out as it is", async () => {
    const target = await serve("wire");
    handle = (made, callback) => {
      expect(made.get("waybill")).toEqual(["abc"]);
      expect(made.get("x-raw-bin")).toEqual([Buffer.from([1])]);
      expect(made.get("other")).toEqual([]);
      // As metadata have it: nothing.
      expect(made.get("x-odd")).toEqual(made.metadata.get("x-odd"));
      expect(made.getPeer()).toMatch(/^127\.0\.0\.1:\d+$/);
      made.sendMetadata(undefined, "def");
      callback(null, made.request);
    };
    const answer = await ask(target, [frame("a")], {
      waybill: "abc",
      "x-raw-bin": "AQ==",
      "x-odd": "\u00ff",
    });
    expect(answer).toMatchObject({ status: "0", headers: { waybill: "def" } });
    const { [sensitiveHeaders as unknown as string]: neverIndexed } = answer.headers;
    expect(neverIndexed).toEqual(["waybill"]);
  });

  test("a message larger than the limit is refused before the rest of it has come", async () => {
    const target = await serve("wire");
    const session = connect(`http://${target}`);
    sessions.push(session);
    const stream = session.request({
      ":method": "POST",
      ":path": PATH,
      "content-type": "application/grpc",
    });
    const head = Buffer.from([0, 0xff, 0xff, 0xff, 0xff]);
    stream.write(head);
    const [headers] = (await once(stream, "response")) as [IncomingHttpHeaders];
    expect(headers["grpc-status"]).toBe(`${status.RESOURCE_EXHAUSTED}`);
  });

  test("a grpc-js that keeps its servers elsewhere is told", () => {
    expect(() => new UnaryWire().attach({} as Server)).toThrow(/keeps its HTTP\/2 servers/);
  });
});
