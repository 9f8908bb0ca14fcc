import { callFingerprint, fingerprint } from "../waybill/chain.ts";
import type { FirstVersion, NextVersion, Version } from "./anchorStore.ts";
import type { Move } from "./sql/advanceAnchors.ts";
import type { Beginning } from "./sql/insertAnchors.ts";

/** Makes the rows of a session's first version. The tables store digests as fingerprints only. */
export function beginningOf({ sessionId, digest, savedResponse }: FirstVersion): Beginning {
  return {
    sessionId,
    head: fingerprint("anchor", digest),
    digest: fingerprint("advance", digest),
    answer: savedResponse,
  };
}

/** Makes the compare-and-set of a session's next version. */
export function moveOf(from: Version, next: NextVersion): Move {
  const { digest, identity, savedResponse, ended, isSaved = false } = next;
  return {
    sessionId: from.sessionId,
    version: from.version,
    head: fingerprint("anchor", from.digest),
    nextHead: fingerprint("anchor", digest),
    digest: fingerprint("advance", digest),
    parent: fingerprint("advance", from.digest),
    call: callOf(from, identity),
    answer: savedResponse,
    ended,
    isSaved,
  };
}

/** Returns the fingerprint of the call that made an advance. */
export function callOf({ digest }: Version, identity: NextVersion["identity"]): Buffer {
  return callFingerprint(digest, identity.idempotencyDigest, identity.requestDigest);
}
