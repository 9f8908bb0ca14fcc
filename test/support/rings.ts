import { randomBytes } from "node:crypto";
import { fixedRing, type Ring, type RingKey, type RingSource } from "#shared/rings/ring.ts";

/** Creates a key with a fresh id. */
export function makeKey(state: RingKey["state"] = "active", key = randomBytes(32)): RingKey {
  return { id: randomBytes(8).toString("base64url"), state, key };
}

/** Creates a ring with one active key. */
export function makeRing(audience: string, keys: RingKey[] = [makeKey()]): Ring {
  return { audience, version: 1, keys };
}

export function makeRingSource(audience: string, keys?: RingKey[]): RingSource {
  return fixedRing(makeRing(audience, keys));
}
