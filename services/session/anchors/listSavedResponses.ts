import type { Context } from "waybill";
import type {
  ListSavedResponsesRequest,
  ListSavedResponsesResponse,
} from "#proto/waybill/session/v1/anchors.ts";
import { uuidFromBytes } from "#shared/runtime/uuid.ts";
import type { AnchorsOf } from "../index.ts";

/** Lists the saved responses of versions after one. */
export const listSavedResponses =
  (of: AnchorsOf) =>
  async (
    { sessionId, version, limit }: ListSavedResponsesRequest,
    context: Context,
  ): Promise<ListSavedResponsesResponse> => {
    const anchors = of(context);
    const id = uuidFromBytes(sessionId);
    const isItsOwn = (await anchors.read(id)) !== undefined;
    return { answers: isItsOwn ? await anchors.savedAfter(id, version, limit) : [] };
  };
