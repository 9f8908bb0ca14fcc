import type { RotateRingRequest, RotateRingResponse } from "#proto/waybill/keys/v1/keys.ts";
import { actorOf } from "#shared/audit/auditLog.ts";
import type { Context } from "#shared/grpc/handlers.ts";
import { authorize } from "./authorize.ts";
import { KeysErrors } from "./errors.ts";
import type { KeysParts } from "./parts.ts";
import { rotateRing as rotate } from "./rings.ts";

export const rotateRing =
  ({ db, wrapping, credentials, versions, audit }: KeysParts) =>
  async ({ audience }: RotateRingRequest, context: Context): Promise<RotateRingResponse> => {
    await authorize(context, audience, credentials);
    const rotated = await rotate(db, wrapping, audience, (tx, { activeKeyId }) =>
      audit.writeWith(tx, {
        ...actorOf(context),
        action: "ring.rotate",
        target: `rings/${audience}`,
        details: { key: activeKeyId },
      }),
    );
    if (rotated === undefined) throw KeysErrors.RING_NOT_FOUND({ metadata: { audience } });
    versions.tell(audience, rotated.version);
    return rotated;
  };
