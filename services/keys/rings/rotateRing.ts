import { setTimeout as delay } from "node:timers/promises";
import type { Context } from "waybill";
import type { RotateRingRequest, RotateRingResponse } from "#proto/waybill/keys/v1/keys.ts";
import { actorOf } from "../../auditLog/auditLog.ts";
import type { KeysDependencies } from "../index.ts";
import { authorize } from "./authorize.ts";
import { KeysErrors } from "./ringStore.ts";
import type { Actor, RingChange, Rings } from "./rings.ts";
import { liveLeases, waitedFor } from "./transitions.ts";

/** Replicas see a change within milliseconds, or within two seconds if a notification is lost. */
const PATIENCE_MS = 3000;
const LOOK_MS = 50;

/** Promotes a pending key once every lease has acknowledged it, or destroys a leaked key. */
export const rotateRing =
  ({ rings, credentials }: KeysDependencies) =>
  async (
    { audience, destroyKeyId }: RotateRingRequest,
    context: Context,
  ): Promise<RotateRingResponse> => {
    await authorize(context, audience, credentials);
    const actor = actorOf(context);
    if ((await rings.peek(audience)) === undefined) {
      throw KeysErrors.RING_NOT_FOUND({ metadata: { audience } });
    }
    const wait = () => delay(LOOK_MS, undefined, { signal: context.signal });
    if (destroyKeyId === "") return rotate(rings, audience, actor, wait);
    const { after } = await rings.destroy(audience, destroyKeyId, actor);
    if (!after.keys.some(({ id, state }) => id === destroyKeyId && state === "destroyed")) {
      throw KeysErrors.RING_NOT_FOUND({ metadata: { audience, destroyed: destroyKeyId } });
    }
    return { ...answer(after), unaware: await unaware(rings, audience, after.version, wait) };
  };

async function rotate(
  rings: Rings,
  audience: string,
  actor: Actor,
  wait: () => Promise<void>,
): Promise<RotateRingResponse> {
  const until = performance.now() + PATIENCE_MS;
  for (;;) {
    const { before, after, now } = await rings.rotate(audience, actor);
    if (after !== before) return answer(after);
    if (performance.now() > until) {
      const holders = waitedFor(after, now).join(" ");
      throw KeysErrors.ROTATION_PENDING({ metadata: { audience, holders }, retryAfterMs: 1000 });
    }
    await wait();
  }
}

/** Waits for leases to acknowledge a version. @returns the holders that did not in time */
async function unaware(
  rings: Rings,
  audience: string,
  version: number,
  wait: () => Promise<void>,
): Promise<string[]> {
  const until = performance.now() + PATIENCE_MS;
  for (;;) {
    const peeked = await rings.peek(audience);
    if (peeked === undefined) return [];
    const late = liveLeases(peeked.after, peeked.now).filter((l) => l.acknowledged < version);
    if (late.length === 0 || performance.now() > until) return late.map(({ holder }) => holder);
    await wait();
  }
}

function answer({ version, keys }: RingChange["after"]): RotateRingResponse {
  const activeKeyId = keys.find(({ state }) => state === "active")?.id ?? "";
  return { version, activeKeyId, unaware: [] };
}
