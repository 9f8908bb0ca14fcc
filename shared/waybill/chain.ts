import { sha256 } from "../runtime/sha256.ts";

/** Random bytes that a chain digest takes. */
export const CHAIN_RANDOM_BYTES = 16;

/**
 * Computes the chain digest of a version: SHA-256 over the parent digest, the session's id, the version,
 * SHA-256 of the state, and random bytes. Two successors of one version have different digests, and no one
 * can compute a digest without its random bytes.
 *
 * @param parent 32 bytes; empty for the first version
 * @param sessionId 16 bytes
 * @param random 16 bytes
 * @returns 32 bytes
 */
export function chainDigest(
  parent: Uint8Array,
  sessionId: Uint8Array,
  version: number,
  state: Uint8Array,
  random: Uint8Array,
): Buffer {
  const count = Buffer.alloc(4);
  count.writeUInt32BE(version);
  return sha256(parent, sessionId, count, sha256(state), random);
}

/**
 * Computes the fingerprint of a call for the table of advances. A reader of the table cannot guess a
 * request by it.
 *
 * @param parent the chain digest that the call advanced from
 * @param idempotencyDigest @param requestDigest the identity of the request
 */
export function callFingerprint(
  parent: Uint8Array,
  idempotencyDigest: Uint8Array,
  requestDigest: Uint8Array,
): Buffer {
  return sha256("call", parent, idempotencyDigest, requestDigest);
}

/**
 * Computes the fingerprint of a chain digest for a table. The fingerprints of anchors and advances are
 * unrelated: an attacker that can write to the tables cannot reset an anchor with values found in them.
 */
export function fingerprint(table: "anchor" | "advance", digest: Uint8Array): Buffer {
  return sha256(table, digest);
}
