import type { Http2Server, IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { Metadata, type Server, status } from "@grpc/grpc-js";
import { Errors, type StatusError } from "../../errors.ts";
import { ENCODINGS } from "./framedMessage.ts";
import { metadataRefusal } from "./requestMetadata.ts";
import { endAsInternal, endWithHttp, endWithStatus, guardResponse } from "./statusResponse.ts";
import { NO_TIMEOUT, TIMEOUT, UnaryCall, type UnaryMethod } from "./unaryCall.ts";

/** A method that is served, and the metadata keys that it reads. */
export type Route = Pick<UnaryMethod, "path" | "keys">;

/** `application/grpc`, with or without a subtype or parameters; not `application/grpc-web`. */
const MEDIA_TYPE = /^application\/grpc(?:[+;]|\s*;|$)/i;
/** Paths that can be a method's. */
const PATH = /^[!-~]{1,256}$/;
const NO_KEYS: readonly string[] = [];

/**
 * Sees every stream of a grpc-js server before grpc-js does. It refuses requests that are not gRPC or have
 * unreadable metadata, and serves unary calls.
 *
 * For each unary call grpc-js makes a stream of its own on node:http2's, a chain of listeners and two
 * copies of the metadata: more than half of the cost of such a call, and more than opening and sealing a
 * waybill. grpc-js still serves connections, their age, keepalive, TLS and shutdown, and every call that is
 * not unary or whose method is unknown.
 */
export class UnaryWire {
  readonly #unary = new Map<string, UnaryMethod>();
  readonly #others = new Map<string, Route>();
  readonly #failed: (method: string, error: StatusError) => void;

  /**
   * @param failed gets each refusal, and each response that could not be written. Must not throw
   */
  constructor(failed: (method: string, error: StatusError) => void = () => {}) {
    this.#failed = failed;
  }

  add(method: UnaryMethod): void {
    this.#unary.set(method.path, method);
  }

  /** Adds a method that grpc-js serves. */
  addStream(route: Route): void {
    this.#others.set(route.path, route);
  }

  /**
   * Takes the streams of a server that listens. grpc-js has no way to ask for its streams, so this
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
      const serve: StreamListener = (stream, headers, flags, fields) => {
        try {
          if (this.#serves(stream, headers, fields)) return;
          const path = headers[":path"]!;
          guardResponse(stream, (cause) => this.#failed(path, Errors.INTERNAL({ cause })));
          for (const listener of others) listener.call(http2Server, stream, headers, flags, fields);
        } catch (cause) {
          // Nothing above is known to throw. If it does, that costs this call alone.
          this.#failed("a call", Errors.INTERNAL({ cause }));
          endAsInternal(stream);
        }
      };
      http2Server.on("stream", serve as (...args: unknown[]) => void);
    }
  }

  /** @returns false: the request is left to grpc-js */
  #serves(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    fields: readonly string[],
  ): boolean {
    // PUT or GET with a message must not act as a call: caches and proxies treat them differently.
    if (headers[":method"] !== "POST") {
      endWithHttp(stream, { ":status": 405, allow: "POST" });
      return true;
    }
    const type = headers["content-type"];
    if (type !== "application/grpc" && !MEDIA_TYPE.test(type ?? "")) {
      endWithHttp(stream, { ":status": 415 });
      return true;
    }
    const path = headers[":path"]!;
    const unary = this.#unary.get(path);
    const route = unary ?? this.#others.get(path);
    // grpc-js repeats the path in its response: proxies refuse a response with a long header.
    if (route === undefined && !PATH.test(path)) {
      endWithStatus(stream, status.UNIMPLEMENTED, "There is no such method.");
      return true;
    }
    const refusal = metadataRefusal(headers, fields, route?.keys ?? NO_KEYS);
    if (refusal !== undefined) {
      this.#failed(path, refusal);
      const { code, details, metadata } = refusal.toStatusObject();
      endWithStatus(stream, code, details, metadata);
      return true;
    }
    // grpc-js repeats it in its response, as it does a path.
    if (!ENCODINGS.includes(`${headers["grpc-encoding"] ?? "identity"}`)) {
      const accepted = new Metadata();
      accepted.set("grpc-accept-encoding", ENCODINGS.join());
      const details = "The messages are compressed with an encoding that is not supported.";
      endWithStatus(stream, status.UNIMPLEMENTED, details, accepted);
      return true;
    }
    if (unary !== undefined) {
      new UnaryCall(stream, headers, unary).start();
      return true;
    }
    // This, too.
    const timeout = headers["grpc-timeout"];
    if (timeout === undefined || TIMEOUT.test(`${timeout}`)) return false;
    endWithStatus(stream, status.INTERNAL, NO_TIMEOUT);
    return true;
  }
}

type StreamListener = (
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  flags: number,
  fields: string[],
) => void;
