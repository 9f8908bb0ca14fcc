import type { EnvelopeV1, SavedResponseV1 } from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import { Errors, type StatusError } from "../errors.ts";
import { uuidFromBytes } from "../runtime/uuid.ts";
import { fingerprint } from "../waybill/chain.ts";
import type { RequestIdentity } from "./anchorStore.ts";
import type { SavedResponses } from "./savedResponses.ts";
import type { AnchorRow } from "./sql/readAnchor.ts";

/**
 * What becomes of a call that writes, by where its session stands.
 *
 * @param row of the session; undefined when it has no anchor
 * @param from the envelope of the call's waybill
 * @param wasServed finds out whether the call was made before, when its answer is gone
 * @returns what the call was answered when it was made before; undefined: the session stands where the
 *   waybill says, and the call may go on
 * @throws StatusError WAYBILL_STALE, WAYBILL_ENDED, IDEMPOTENCY_KEY_REUSED, WAYBILL_INVALID (there
 *   never was such a session, or such a version of it)
 */
export async function findReplay(
  row: AnchorRow | undefined,
  from: EnvelopeV1,
  identity: RequestIdentity,
  savedResponses: SavedResponses,
  wasServed: () => Promise<boolean>,
): Promise<SavedResponseV1 | undefined> {
  assertAnchored(row);
  if (isCurrent(row, from)) return undefined;
  if (row.version === from.version + 1) {
    const answer = await savedResponses.open(row.answer);
    if (answer === undefined || !matchesRow(answer, row, from.sessionId)) {
      throw Errors.WAYBILL_INVALID({ alarm: true, cause: "what its anchor keeps is not its own" });
    }
    if (!answer.parentDigest.equals(from.digest)) {
      throw Errors.WAYBILL_INVALID({
        alarm: true,
        cause: `a fork: version ${from.version} of the session has another digest than was advanced`,
      });
    }
    if (isRetry(answer, identity)) return answer;
  }
  throw staleError(row, from, await wasServed());
}

/** @throws StatusError WAYBILL_INVALID */
export function assertAnchored(row: AnchorRow | undefined): asserts row is AnchorRow {
  if (row !== undefined) return;
  throw Errors.WAYBILL_INVALID({ alarm: true, cause: "its session has no anchor" });
}

/**
 * Whether a session stands where a waybill says. Otherwise it has moved on.
 *
 * @throws StatusError WAYBILL_INVALID: there never was such a version of it
 */
export function isCurrent(row: AnchorRow, from: EnvelopeV1): boolean {
  if (row.version > from.version) return false;
  if (row.version < from.version) {
    throw Errors.WAYBILL_INVALID({
      alarm: true,
      cause: `version ${from.version} is from the future: its anchor is at ${row.version}`,
    });
  }
  if (row.head.equals(fingerprint("anchor", from.digest)) && !row.ended) return true;
  throw Errors.WAYBILL_INVALID({
    alarm: true,
    cause: `a fork: version ${from.version} of the session has another digest than its anchor`,
  });
}

/**
 * What a caller is told whose session has moved on.
 *
 * @param wasServed whether by this very call, made before
 */
export function staleError(row: AnchorRow, from: EnvelopeV1, wasServed: boolean): StatusError {
  const metadata = {
    session: `sessions/${uuidFromBytes(from.sessionId)}`,
    version: `${from.version}`,
    newest: `${row.version}`,
    served: `${wasServed}`,
  };
  return row.ended ? Errors.WAYBILL_ENDED({ metadata }) : Errors.WAYBILL_STALE({ metadata });
}

/**
 * Whether an answer is of a call that was made with the same key and request.
 *
 * @throws StatusError IDEMPOTENCY_KEY_REUSED
 */
export function isRetry(answer: SavedResponseV1, identity: RequestIdentity): boolean {
  if (!answer.idempotencyDigest.equals(identity.idempotencyDigest)) return false;
  if (answer.requestDigest.equals(identity.requestDigest)) return true;
  throw Errors.IDEMPOTENCY_KEY_REUSED();
}

/** Whether an answer is the one of its row, and of its session. @param sessionId 16 bytes */
export function matchesRow(answer: SavedResponseV1, row: AnchorRow, sessionId: Buffer): boolean {
  return (
    answer.sessionId.equals(sessionId) &&
    answer.version === row.version &&
    fingerprint("anchor", answer.digest).equals(row.head)
  );
}
