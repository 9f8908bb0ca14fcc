import { constants, type ServerHttp2Session } from "node:http2";
import type { Server } from "@grpc/grpc-js";

/**
 * Most header fields that a request may have before Node resets its stream. Requests with more metadata than
 * is served (`requestMetadata.ts`) are still read up to here, so that they get a response with a reason.
 */
const MAX_HEADER_FIELDS = 1200;

/**
 * Sets options of `node:http2` for which grpc-js has none of its own, by reaching for the object that grpc-js
 * hands to it. To be called before the server listens.
 *
 * - Clients may cancel as often as they like. Node's HTTP/2 server ends a connection that has seen 1,000
 *   stream resets with fewer than 33 a second since, against floods of them. Behind a proxy, which puts
 *   everyone's calls on the same few connections, the cancelled calls of one client would so fail the calls
 *   of all. The front proxy limits streams and resets a connection of its own callers.
 * - A request with many header fields reaches the server, which refuses it with a reason. By default Node
 *   resets a stream with more than 128.
 * - A field with white space around its value is read. By default nghttp2 drops it silently, and a
 *   credential with a trailing space would be treated as absent.
 *
 * @throws Error when grpc-js keeps them elsewhere
 */
export function setHttp2Options(server: Server): void {
  const { commonServerOptions } = server as unknown as {
    commonServerOptions?: Record<string, unknown>;
  };
  if (commonServerOptions?.["maxSendHeaderBlockLength"] === undefined) {
    throw new Error("this version of @grpc/grpc-js keeps its HTTP/2 options elsewhere");
  }
  commonServerOptions["streamResetBurst"] = 1_000_000;
  commonServerOptions["streamResetRate"] = 100_000;
  commonServerOptions["maxHeaderListPairs"] = MAX_HEADER_FIELDS;
  commonServerOptions["strictFieldWhitespaceValidation"] = false;
}

/**
 * Shuts a server down and destroys its connections. grpc-js's `forceShutdown` alone leaves connections open
 * while `grpc.enable_channelz` is 0: it reads them from a list that only its channelz code fills.
 */
export function destroyServer(server: Server): void {
  const { http2Servers } = server as unknown as {
    http2Servers: ReadonlyMap<unknown, { sessions: ReadonlySet<ServerHttp2Session> }>;
  };
  const sessions = [...http2Servers.values()].flatMap((http2Server) => [...http2Server.sessions]);
  server.forceShutdown();
  for (const session of sessions) session.destroy(undefined, constants.NGHTTP2_CANCEL);
}
