import { status } from "@grpc/grpc-js";
import { vocabulary } from "#shared/errors.ts";

export const KeysErrors = vocabulary("keys.waybill", {
  ROTATION_PENDING: [
    status.UNAVAILABLE,
    "Some replicas have yet to acknowledge the keys that stand by; one that was killed is waited for until its lease has run out. Repeat the call.",
  ],
  RING_UNREADABLE: [
    status.INTERNAL,
    "A key of the ring does not unwrap: its row was changed, or another key-encryption key has wrapped it. The key service's log says which.",
  ],
  RING_NOT_FOUND: [status.NOT_FOUND, "There is no such ring."],
});
