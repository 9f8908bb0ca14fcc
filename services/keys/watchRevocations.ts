import type { Revocations, WatchRevocationsRequest } from "#proto/waybill/keys/v1/keys.ts";
import type { Context } from "#shared/grpc/handlers.ts";
import type { KeysParts } from "./parts.ts";

export const watchRevocations = ({ feed }: KeysParts) =>
  async function* (
    { afterNumber }: WatchRevocationsRequest,
    { signal }: Context,
  ): AsyncGenerator<Revocations> {
    let isAwake = true;
    let resolve: () => void = () => {};
    const wake = () => {
      isAwake = true;
      resolve();
    };
    const stopWatching = feed.watch(wake);
    signal.addEventListener("abort", wake, { once: true });
    try {
      for (let known = afterNumber; !signal.aborted; ) {
        if (!isAwake) {
          await new Promise<void>((done) => {
            resolve = done;
          });
          continue;
        }
        isAwake = false;
        const piece = await feed.read(known);
        if (piece.number === known) continue;
        known = piece.number;
        // There may be more than one answer holds.
        isAwake = true;
        yield piece;
      }
    } finally {
      stopWatching();
    }
  };
