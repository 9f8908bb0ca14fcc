import type { Context } from "waybill";
import type { GetAnchorRequest, GetAnchorResponse } from "#proto/waybill/session/v1/anchors.ts";
import { uuidFromBytes } from "#shared/runtime/uuid.ts";
import type { AnchorsOf } from "../index.ts";

/** Reads the current version of a session. */
export const getAnchor =
  (of: AnchorsOf) =>
  async ({ sessionId }: GetAnchorRequest, context: Context): Promise<GetAnchorResponse> => ({
    anchor: await of(context).read(uuidFromBytes(sessionId)),
  });
