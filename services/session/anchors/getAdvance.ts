import type { Context } from "waybill";
import type { GetAdvanceRequest, GetAdvanceResponse } from "#proto/waybill/session/v1/anchors.ts";
import { uuidFromBytes } from "#shared/runtime/uuid.ts";
import type { AnchorsOf } from "../index.ts";

/** Reads the fingerprint of the call that made a version. */
export const getAdvance =
  (of: AnchorsOf) =>
  async (
    { sessionId, version }: GetAdvanceRequest,
    context: Context,
  ): Promise<GetAdvanceResponse> => {
    const anchors = of(context);
    const id = uuidFromBytes(sessionId);
    const isItsOwn = (await anchors.read(id)) !== undefined;
    const call = isItsOwn ? await anchors.callOf(id, version) : undefined;
    return { call: call ?? Buffer.alloc(0) };
  };
