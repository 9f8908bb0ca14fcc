import { sha256 } from "../runtime/sha256.ts";

/** Random bytes that a chain digest takes. */
export const CHAIN_RANDOM_BYTES = 16;

/**
 * The chain digest of a version: SHA-256 over the digest before it, the session's id, the version,
 * SHA-256 of the state and random bytes. Two successors of one version never have the same, and
 * nobody can work one out who has not seen it.
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
 * What a table holds of a call: nothing that who reads it could guess a request by.
 *
 * @param parent the chain digest that the call went on from
 * @param idempotencyDigest @param requestDigest what tells it from others
 */
export function callFingerprint(
  parent: Uint8Array,
  idempotencyDigest: Uint8Array,
  requestDigest: Uint8Array,
): Buffer {
  return sha256("call", parent, idempotencyDigest, requestDigest);
}

/**
 * What a table holds of a chain digest. That of an advance says nothing of that of an anchor: who
 * writes to the tables cannot set an anchor back by what he finds in them.
 */
export function fingerprint(table: "anchor" | "advance", digest: Uint8Array): Buffer {
  return sha256(table, digest);
}
