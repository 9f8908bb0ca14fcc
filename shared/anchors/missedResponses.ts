import type { EnvelopeV1, SavedResponseV1 } from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import { Errors } from "../errors.ts";
import { uuidFromBytes } from "../runtime/uuid.ts";
import { fingerprint } from "../waybill/chain.ts";
import type { AnchorStore, RequestIdentity } from "./anchorStore.ts";
import { isRetry } from "./replay.ts";
import type { SavedResponses } from "./savedResponses.ts";

/** How many are in memory at once. */
const PAGE = 20;

/**
 * What a stream that broke was answered after the waybill that its caller has: one answer after
 * another, each the successor of the one before, until one is not the stream's.
 *
 * @param from the envelope of the caller's waybill
 * @throws StatusError WAYBILL_INVALID: a row was changed; IDEMPOTENCY_KEY_REUSED
 */
export async function* missedResponses(
  from: EnvelopeV1,
  identity: RequestIdentity,
  anchors: AnchorStore,
  savedResponses: SavedResponses,
): AsyncGenerator<SavedResponseV1> {
  const { sessionId } = from;
  let { version, digest } = from;
  for (;;) {
    const page = await anchors.savedAfter(uuidFromBytes(sessionId), version, PAGE);
    if (page.length === 0) return;
    for (const row of page) {
      const answer = await savedResponses.open(row.answer);
      if (
        answer === undefined ||
        !answer.sessionId.equals(sessionId) ||
        answer.version !== row.version ||
        !fingerprint("advance", answer.digest).equals(row.digest)
      ) {
        throw Errors.WAYBILL_INVALID({
          alarm: true,
          cause: "what is kept of an advance is not its own",
        });
      }
      // Of a fork nothing is given away, and of a gap nothing is made up.
      const follows = answer.version === version + 1 && answer.parentDigest.equals(digest);
      if (!follows || !isRetry(answer, identity)) return;
      yield answer;
      ({ version, digest } = answer);
    }
  }
}
