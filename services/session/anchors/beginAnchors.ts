import type { Logger } from "pino";
import { type Context, Errors } from "waybill";
import {
  type BeginAnchorsRequest,
  type BeginAnchorsResponse,
  Outcome,
} from "#proto/waybill/session/v1/anchors.ts";
import { uuidFromBytes } from "#shared/runtime/uuid.ts";
import type { AnchorsOf } from "../index.ts";

/** Creates the anchors of new sessions at version 1. */
export const beginAnchors =
  (of: AnchorsOf, keepS: number, log: Logger) =>
  async (
    { replica, beginnings }: BeginAnchorsRequest,
    context: Context,
  ): Promise<BeginAnchorsResponse> => {
    const anchors = of(context);
    const latest = Date.now() + keepS * 1000;
    if (beginnings.some(({ expireTime }) => expireTime!.getTime() > latest)) {
      throw Errors.SESSION_TOO_LONG({ metadata: { longestS: `${keepS}` } });
    }
    const begun = await Promise.allSettled(
      beginnings.map(({ expireTime: _, ...row }) =>
        anchors.insert({ ...row, sessionId: uuidFromBytes(row.sessionId), replica }),
      ),
    );
    return {
      outcomes: begun.map((beginning) => {
        if (beginning.status === "fulfilled") return Outcome.OUTCOME_DONE;
        log.error(
          { err: beginning.reason },
          "beginning a session for another service failed, and may have been committed; the calling replica may retry",
        );
        return Outcome.OUTCOME_UNKNOWN;
      }),
    };
  };
