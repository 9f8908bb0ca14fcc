import { status } from "@grpc/grpc-js";
import type { KeysServiceService } from "#proto/waybill/keys/v1/keys.ts";
import type { Credentials } from "#shared/credentials/credentials.ts";
import { vocabulary } from "#shared/grpc/errors.ts";
import type { Handlers } from "#shared/grpc/handlers.ts";
import type { Pool } from "#shared/pg/pool.ts";
import { getRing } from "./getRing.ts";
import { rotateRing } from "./rotateRing.ts";
import type { Versions } from "./versions.ts";
import { watchRing } from "./watchRing.ts";
import type { Wrapping } from "./wrapping.ts";

export const KeysErrors = vocabulary("keys.waybill", {
  RING_NOT_FOUND: [status.NOT_FOUND, "There is no such ring."],
});

/** What the handlers share. */
export interface KeysParts {
  db: Pool;
  wrapping: Wrapping;
  credentials: Credentials;
  versions: Versions;
}

export function keysHandlers(parts: KeysParts): Handlers<typeof KeysServiceService> {
  return {
    getRing: getRing(parts),
    watchRing: watchRing(parts),
    rotateRing: rotateRing(parts),
  };
}
