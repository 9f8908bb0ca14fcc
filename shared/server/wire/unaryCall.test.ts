import { once } from "node:events";
import { connect, createServer, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { setImmediate as turn } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { UnaryCall, type UnaryMethod } from "./unaryCall.ts";

test("a stream that is over holds neither its call nor the headers of its answer", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const method: UnaryMethod = {
    path: "/a.B/Call",
    handle: (call, callback) => callback(null, call.request),
    serialize: (bytes) => bytes as Buffer,
    maxBytes: 1000,
  };
  // As node:http2's own lists hold them.
  const streams: ServerHttp2Stream[] = [];
  const calls: WeakRef<UnaryCall>[] = [];
  const server = createServer().on("stream", (stream: ServerHttp2Stream, headers) => {
    streams.push(stream);
    const call = new UnaryCall(stream, headers, method);
    calls.push(new WeakRef(call));
    call.start();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  try {
    const request = session.request({ ":method": "POST", ":path": method.path });
    request.end(Buffer.alloc(5));
    expect((await request.toArray()).length).toBeGreaterThan(0);
    const [stream] = streams;
    if (!stream!.closed) await once(stream!, "close");
    // A WeakRef target that was read stays alive for that turn.
    await turn();
    collect();
    expect(calls).toHaveLength(1);
    expect(calls[0]!.deref()).toBeUndefined();
    expect(Object.keys(stream!.sentHeaders ?? {})).toEqual([]);
  } finally {
    session.destroy();
    server.close();
  }
});
