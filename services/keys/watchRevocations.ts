import type { Context } from "waybill";
import type { Revocations, WatchRevocationsRequest } from "#proto/waybill/keys/v1/keys.ts";
import type { KeysDependencies } from "./index.ts";

/** Streams the revocations after a number, and each later one. */
export const watchRevocations =
  ({ feed }: KeysDependencies) =>
  ({ afterNumber }: WatchRevocationsRequest, { signal }: Context): AsyncGenerator<Revocations> =>
    feed.follow(afterNumber, signal);
