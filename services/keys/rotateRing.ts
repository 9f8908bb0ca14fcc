import type { RotateRingRequest, RotateRingResponse } from "#proto/waybill/keys/v1/keys.ts";
import { actorOf } from "#shared/audit/auditLog.ts";
import type { Context } from "#shared/grpc/handlers.ts";
import { authorize } from "./authorize.ts";
import { KeysErrors } from "./errors.ts";
import type { KeysParts } from "./parts.ts";
import { rotateRing as rotate } from "./rings.ts";

export const rotateRing =
  ({ credentials, versions, audit, ...parts }: KeysParts) =>
  async (
    { audience, destroyKeyId }: RotateRingRequest,
    context: Context,
  ): Promise<RotateRingResponse> => {
    await authorize(context, audience, credentials);
    const details: Record<string, string> = destroyKeyId === "" ? {} : { destroyed: destroyKeyId };
    const rotated = await rotate(
      parts,
      audience,
      (tx, { activeKeyId }) =>
        audit.writeWith(tx, {
          ...actorOf(context),
          action: destroyKeyId === "" ? "ring.rotate" : "ring.destroyKey",
          target: `rings/${audience}`,
          details: { ...details, key: activeKeyId },
        }),
      { destroyKeyId: destroyKeyId || undefined },
    );
    if (rotated === undefined) {
      throw KeysErrors.RING_NOT_FOUND({ metadata: { audience, ...details } });
    }
    versions.tell(audience, rotated.version);
    return rotated;
  };
