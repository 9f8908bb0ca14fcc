import type { EnvelopeV1, SavedResponseV1 } from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import { Errors, type StatusError } from "../errors.ts";
import { uuidFromBytes } from "../runtime/uuid.ts";
import { fingerprint } from "../waybill/chain.ts";
import type { RequestIdentity } from "./anchorStore.ts";
import type { SavedResponses } from "./savedResponses.ts";
import type { AnchorRow } from "./sql/readAnchor.ts";

/**
 * Finds the saved response when a call that advances a session is a retry.
 *
 * @param row the session's anchor; undefined when it has none
 * @param from the envelope of the call's waybill
 * @param wasServed looks up whether this call was served, when its saved response was deleted
 * @returns undefined: the session is at the waybill's version, and the call may advance it
 * @throws StatusError WAYBILL_STALE, WAYBILL_ENDED, IDEMPOTENCY_KEY_REUSED, WAYBILL_INVALID (no such
 *   session, or no such version of it)
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
    const saved = await savedResponses.open(row.answer);
    if (saved === undefined || !matchesRow(saved, row, from.sessionId)) {
      throw Errors.WAYBILL_INVALID({
        alarm: true,
        cause: "the anchor's saved response is of another version or session",
      });
    }
    if (!saved.parentDigest.equals(from.digest)) {
      throw Errors.WAYBILL_INVALID({
        alarm: true,
        cause: `a fork: the session advanced from another digest of version ${from.version}`,
      });
    }
    if (isRetry(saved, identity)) return saved;
  }
  throw staleError(row, from, await wasServed());
}

/** @throws StatusError WAYBILL_INVALID */
export function assertAnchored(row: AnchorRow | undefined): asserts row is AnchorRow {
  if (row !== undefined) return;
  throw Errors.WAYBILL_INVALID({ alarm: true, cause: "the session has no anchor" });
}

/**
 * Returns whether a waybill is of its session's current version. Otherwise it is stale.
 *
 * @throws StatusError WAYBILL_INVALID: the session never had this version
 */
export function isCurrent(row: AnchorRow, from: EnvelopeV1): boolean {
  if (row.version > from.version) return false;
  if (row.version < from.version) {
    throw Errors.WAYBILL_INVALID({
      alarm: true,
      cause: `version ${from.version} does not exist yet: the anchor is at ${row.version}`,
    });
  }
  if (row.head.equals(fingerprint("anchor", from.digest)) && !row.ended) return true;
  throw Errors.WAYBILL_INVALID({
    alarm: true,
    cause: `a fork: the anchor has another digest of version ${from.version}`,
  });
}

/**
 * Makes the error for a stale waybill: WAYBILL_STALE, or WAYBILL_ENDED.
 *
 * @param wasServed whether an earlier attempt of this call advanced the session
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
 * Returns whether a saved response is of an earlier attempt of this call: the same idempotency key and request.
 *
 * @throws StatusError IDEMPOTENCY_KEY_REUSED
 */
export function isRetry(saved: SavedResponseV1, identity: RequestIdentity): boolean {
  if (!saved.idempotencyDigest.equals(identity.idempotencyDigest)) return false;
  if (saved.requestDigest.equals(identity.requestDigest)) return true;
  throw Errors.IDEMPOTENCY_KEY_REUSED();
}

/** Returns whether a saved response belongs to its row and session. @param sessionId 16 bytes */
export function matchesRow(saved: SavedResponseV1, row: AnchorRow, sessionId: Buffer): boolean {
  return (
    saved.sessionId.equals(sessionId) &&
    saved.version === row.version &&
    fingerprint("anchor", saved.digest).equals(row.head)
  );
}
