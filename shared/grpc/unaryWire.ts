import type { Http2Server, IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import type { Server } from "@grpc/grpc-js";
import { UnaryCall, type UnaryMethod } from "./unaryCall.ts";

/**
 * Serves unary calls on the connections of a grpc-js server.
 *
 * For each unary call grpc-js makes a stream of its own upon node:http2's, a chain of listeners and
 * two copies of the metadata: more than half of what such a call costs, and more than opening and sealing a
 * waybill. Connections, their age, keepalive, TLS and shutdown stay grpc-js's, and so does every call that
 * is not unary, is compressed, or is of a method that is not here.
 */
export class UnaryWire {
  readonly #methods = new Map<string, UnaryMethod>();

  add(method: UnaryMethod): void {
    this.#methods.set(method.path, method);
  }

  /**
   * Takes the unary calls of a server that listens. grpc-js has no way to ask for its streams, so this
   * reaches for the `node:http2` servers that it holds.
   *
   * @throws Error when grpc-js keeps them elsewhere
   */
  attach(server: Server): void {
    const { http2Servers } = server as unknown as { http2Servers?: Map<Http2Server, unknown> };
    if (!(http2Servers instanceof Map) || http2Servers.size === 0) {
      throw new Error("this version of @grpc/grpc-js keeps its HTTP/2 servers elsewhere");
    }
    for (const http2Server of http2Servers.keys()) {
      const others = http2Server.listeners("stream") as StreamListener[];
      http2Server.removeAllListeners("stream");
      const serve: StreamListener = (stream, headers, ...rest) => {
        if (this.#serve(stream, headers)) return;
        for (const listener of others) listener.call(http2Server, stream, headers, ...rest);
      };
      http2Server.on("stream", serve as (...args: unknown[]) => void);
    }
  }

  #serve(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): boolean {
    const method = this.#methods.get(headers[":path"]!);
    if (method === undefined) return false;
    const encoding = headers["grpc-encoding"];
    if (encoding !== undefined && encoding !== "identity") return false;
    if (!headers["content-type"]?.startsWith("application/grpc")) return false;
    new UnaryCall(stream, headers, method).start();
    return true;
  }
}

type StreamListener = (
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  ...rest: unknown[]
) => void;
