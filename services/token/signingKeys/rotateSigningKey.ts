import type { Context } from "waybill";
import type { RotateSigningKeyRequest, SigningKey } from "#proto/waybill/token/v1/token.ts";
import type { SigningAlgorithm } from "#shared/auth/tokens/verificationKeys.ts";
import { actorOf } from "../../auditLog/auditLog.ts";
import type { TokenDependencies } from "../index.ts";
import { toSigningKey } from "./listSigningKeys.ts";

/** Publishes a new signing key. It starts to sign once every cache of the keys has seen it. */
export const rotateSigningKey =
  ({ keys, audit }: TokenDependencies) =>
  async ({ algorithm }: RotateSigningKeyRequest, context: Context): Promise<SigningKey> => {
    const key = await keys.rotate(algorithm ? (algorithm as SigningAlgorithm) : undefined);
    await audit.write({
      ...actorOf(context),
      action: "signingKey.rotate",
      target: `signingKeys/${key.id}`,
      details: { algorithm: key.algorithm },
    });
    return toSigningKey(key);
  };
