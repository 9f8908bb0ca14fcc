import { randomBytes } from "node:crypto";
import { fixedRing, type Ring, type RingKey, type RingSource } from "#shared/rings/ring.ts";

/** A key with an id of its own. */
export function makeKey(state: RingKey["state"] = "active", key = randomBytes(32)): RingKey {
  return { id: randomBytes(8).toString("base64url"), state, key };
}

/** A ring with one active key. */
export function makeRing(audience: string, keys: RingKey[] = [makeKey()]): Ring {
  return { audience, version: 1, keys };
}

export function makeRingSource(audience: string, keys?: RingKey[]): RingSource {
  return fixedRing(makeRing(audience, keys));
}
