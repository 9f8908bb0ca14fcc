import { status } from "@grpc/grpc-js";
import { vocabulary } from "#shared/errors/errors.ts";

export const KeysErrors = vocabulary("keys.waybill", {
  RING_NOT_FOUND: [status.NOT_FOUND, "There is no such ring."],
});
