import type { Server } from "@grpc/grpc-js";

/**
 * Lets clients cancel as often as they like.
 *
 * Node's HTTP/2 server ends a connection that has seen 1,000 stream resets with fewer than 33 a
 * second since, against floods of them. Behind a proxy, which puts everyone's calls on the same few
 * connections, the cancelled calls of one client would so fail the calls of all. The flood is the
 * front door's to stop: it limits streams and resets a connection of its own callers.
 *
 * grpc-js has no option for it, so this reaches for the options that it hands to `node:http2`.
 *
 * @throws Error when grpc-js keeps them elsewhere
 */
export function allowStreamResets(server: Server): void {
  const { commonServerOptions } = server as unknown as {
    commonServerOptions?: Record<string, unknown>;
  };
  if (commonServerOptions?.["maxSendHeaderBlockLength"] === undefined) {
    throw new Error("this version of @grpc/grpc-js keeps its HTTP/2 options elsewhere");
  }
  commonServerOptions["streamResetBurst"] = 1_000_000;
  commonServerOptions["streamResetRate"] = 100_000;
}
