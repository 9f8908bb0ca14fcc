import type { Context } from "waybill";
import type { ReleaseLeaseRequest, ReleaseLeaseResponse } from "#proto/waybill/keys/v1/keys.ts";
import { actorOf } from "../../auditLog/auditLog.ts";
import type { KeysDependencies } from "../index.ts";
import { authorize } from "./authorize.ts";

/** Ends a lease, so that rotations do not wait for its holder. */
export const releaseLease =
  ({ rings, credentials }: KeysDependencies) =>
  async (
    { audience, holder }: ReleaseLeaseRequest,
    context: Context,
  ): Promise<ReleaseLeaseResponse> => {
    await authorize(context, audience, credentials);
    await rings.release(audience, holder, actorOf(context));
    return {};
  };
