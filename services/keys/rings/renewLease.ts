import type { Context } from "waybill";
import type { RenewLeaseRequest, RenewLeaseResponse } from "#proto/waybill/keys/v1/keys.ts";
import { sealRing } from "#shared/rings/sealedRing.ts";
import { actorOf } from "../../auditLog/auditLog.ts";
import type { KeysDependencies } from "../index.ts";
import { authorize, oneTimeKeyOf } from "./authorize.ts";
import { liveLeases } from "./transitions.ts";

/** Grants or renews a lease, and returns the ring as of that moment. */
export const renewLease =
  ({ rings, credentials }: KeysDependencies) =>
  async (request: RenewLeaseRequest, context: Context): Promise<RenewLeaseResponse> => {
    const { audience, holder, acknowledgedVersion: acknowledged, readsRevision: reads } = request;
    const service = await authorize(context, audience, credentials);
    const oneTimeKey = oneTimeKeyOf(context);
    const asked = { holder, acknowledged, reads };
    const { ring, after, now } = await rings.grant(audience, asked, actorOf(context));
    return {
      ring: await sealRing(ring, service, oneTimeKey, credentials),
      duration: { seconds: BigInt(rings.terms.leaseS), nanos: 0 },
      sealsRevision: Math.min(...liveLeases(after, now).map((lease) => lease.reads)),
    };
  };
