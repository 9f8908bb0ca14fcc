import type { EnvelopeV1, SavedResponseV1 } from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import { Errors } from "../errors.ts";
import { uuidFromBytes } from "../runtime/uuid.ts";
import { fingerprint } from "../waybill/chain.ts";
import type { AnchorStore, RequestIdentity } from "./anchorStore.ts";
import { isRetry } from "./replay.ts";
import type { SavedResponses } from "./savedResponses.ts";

/** Most saved responses in memory at once. */
const PAGE = 20;

/**
 * Yields the saved responses that a broken stream has missed, after the version of the caller's waybill. Each
 * is the successor of the one before; it stops at the first one of another call.
 *
 * @param from the envelope of the caller's waybill
 * @throws StatusError WAYBILL_INVALID: a row was changed by hand; IDEMPOTENCY_KEY_REUSED
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
      const saved = await savedResponses.open(row.answer);
      if (
        saved === undefined ||
        !saved.sessionId.equals(sessionId) ||
        saved.version !== row.version ||
        !fingerprint("advance", saved.digest).equals(row.digest)
      ) {
        throw Errors.WAYBILL_INVALID({
          alarm: true,
          cause: "a saved response is of another version or session",
        });
      }
      // A fork gets no response, and a gap ends the replay.
      const follows = saved.version === version + 1 && saved.parentDigest.equals(digest);
      if (!follows || !isRetry(saved, identity)) return;
      yield saved;
      ({ version, digest } = saved);
    }
  }
}
