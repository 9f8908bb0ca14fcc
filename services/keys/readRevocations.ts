import type { ReadRevocationsRequest, Revocations } from "#proto/waybill/keys/v1/keys.ts";
import type { KeysDependencies } from "./index.ts";

/** Reads the revocations after a number from Postgres. */
export const readRevocations =
  ({ feed }: KeysDependencies) =>
  ({ afterNumber }: ReadRevocationsRequest): Promise<Revocations> =>
    feed.read(afterNumber);
