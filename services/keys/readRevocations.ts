import type { ReadRevocationsRequest, Revocations } from "#proto/waybill/keys/v1/keys.ts";
import type { KeysParts } from "./parts.ts";

export const readRevocations =
  ({ feed }: KeysParts) =>
  ({ afterNumber }: ReadRevocationsRequest): Promise<Revocations> =>
    feed.read(afterNumber);
