import type { Logger } from "pino";
import type { Context } from "waybill";
import {
  type AdvanceAnchorsRequest,
  type AdvanceAnchorsResponse,
  Outcome,
} from "#proto/waybill/session/v1/anchors.ts";
import { uuidFromBytes } from "#shared/runtime/uuid.ts";
import type { AnchorsOf } from "../index.ts";

/** Advances sessions by compare-and-set, each on its own. */
export const advanceAnchors =
  (of: AnchorsOf, log: Logger) =>
  async (
    { replica, moves }: AdvanceAnchorsRequest,
    context: Context,
  ): Promise<AdvanceAnchorsResponse> => {
    const anchors = of(context);
    const made = await Promise.allSettled(
      moves.map(({ sessionId, kept: isSaved, ...move }) =>
        anchors.move({ ...move, sessionId: uuidFromBytes(sessionId), isSaved, replica }),
      ),
    );
    return { outcomes: made.map((move) => outcomeOf(move, log)) };
  };

function outcomeOf(made: PromiseSettledResult<boolean>, log: Logger): Outcome {
  if (made.status === "rejected") {
    log.error(
      { err: made.reason },
      "an advance for another service failed, and may have been committed; the calling replica may retry",
    );
    return Outcome.OUTCOME_UNKNOWN;
  }
  return made.value ? Outcome.OUTCOME_DONE : Outcome.OUTCOME_ELSEWHERE;
}
