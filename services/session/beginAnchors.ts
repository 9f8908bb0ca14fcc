import {
  type BeginAnchorsRequest,
  type BeginAnchorsResponse,
  Outcome,
} from "#proto/waybill/session/v1/anchors.ts";
import type { Context } from "#shared/grpc/handlers.ts";
import { uuidFromBytes } from "#shared/waybill/uuid.ts";
import type { AnchorsOf } from "./anchorsOf.ts";

export const beginAnchors =
  (of: AnchorsOf) =>
  async (
    { replica, beginnings }: BeginAnchorsRequest,
    context: Context,
  ): Promise<BeginAnchorsResponse> => {
    const anchors = of(context);
    const begun = await Promise.allSettled(
      beginnings.map((row) =>
        anchors.insert({ ...row, sessionId: uuidFromBytes(row.sessionId), replica }),
      ),
    );
    return {
      outcomes: begun.map(({ status }) =>
        status === "fulfilled" ? Outcome.OUTCOME_DONE : Outcome.OUTCOME_UNKNOWN,
      ),
    };
  };
