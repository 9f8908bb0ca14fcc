import type { Context } from "waybill";
import type { WatchRingRequest, WatchRingResponse } from "#proto/waybill/keys/v1/keys.ts";
import { sealRing } from "#shared/rings/sealedRing.ts";
import { actorOf } from "../../auditLog/auditLog.ts";
import type { KeysDependencies } from "../index.ts";
import { authorize, oneTimeKeyOf } from "./authorize.ts";

/** Streams the ring of an audience now, and after each change. */
export const watchRing = ({ rings, credentials, versions }: KeysDependencies) =>
  async function* (
    { audience }: WatchRingRequest,
    context: Context,
  ): AsyncGenerator<WatchRingResponse> {
    const service = await authorize(context, audience, credentials);
    const oneTimeKey = oneTimeKeyOf(context);
    const { signal } = context;

    let newest = 0;
    let wake: () => void = () => {};
    const stopWatching = versions.watch(audience, (version) => {
      newest = Math.max(newest, version);
      wake();
    });
    signal.addEventListener("abort", () => wake(), { once: true });

    try {
      for (let sent = 0; !signal.aborted; ) {
        // Each notification causes one read: the version may not exist, or be lost in a failover.
        newest = 0;
        const ring = await rings.get(audience, actorOf(context));
        if (ring.version > sent) {
          yield {
            ring: await sealRing(ring, service, oneTimeKey, credentials),
          };
          sent = ring.version;
        }
        while (newest <= sent && !signal.aborted) {
          const { promise, resolve } = Promise.withResolvers<void>();
          wake = resolve;
          await promise;
        }
      }
    } finally {
      stopWatching();
    }
  };
