import type { KeysServiceService } from "#proto/waybill/keys/v1/keys.ts";
import type { Handlers } from "#shared/grpc/handlers.ts";
import { getRing } from "./getRing.ts";
import type { KeysParts } from "./parts.ts";
import { rotateRing } from "./rotateRing.ts";
import { watchRing } from "./watchRing.ts";

export function keysHandlers(parts: KeysParts): Handlers<typeof KeysServiceService> {
  return {
    getRing: getRing(parts),
    watchRing: watchRing(parts),
    rotateRing: rotateRing(parts),
  };
}
