import type { Context } from "waybill";
import type { GetRingRequest, SealedRing } from "#proto/waybill/keys/v1/keys.ts";
import { sealRing } from "#shared/rings/sealedRing.ts";
import { actorOf } from "../../auditLog/auditLog.ts";
import type { KeysDependencies } from "../index.ts";
import { authorize, oneTimeKeyOf } from "./authorize.ts";

/** Returns the ring of an audience, encrypted to the one-time key of the call. */
export const getRing =
  ({ rings, credentials }: KeysDependencies) =>
  async ({ audience }: GetRingRequest, context: Context): Promise<SealedRing> => {
    const service = await authorize(context, audience, credentials);
    const ring = await rings.get(audience, actorOf(context));
    return sealRing(ring, service, oneTimeKeyOf(context), credentials);
  };
