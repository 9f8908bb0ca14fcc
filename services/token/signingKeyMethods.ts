import {
  type ListSigningKeysRequest,
  type ListSigningKeysResponse,
  type RotateSigningKeyRequest,
  SigningKey_State,
  type SigningKey as SigningKeyMessage,
} from "#proto/waybill/token/v1/token.ts";
import type { SigningAlgorithm } from "#shared/auth/tokens/verificationKeys.ts";
import type { Context } from "#shared/contract/handlers.ts";
import { actorOf } from "../auditLog/auditLog.ts";
import type { TokenParts } from "./parts.ts";
import type { SigningKey } from "./signingKeys.ts";

const STATES = {
  pending: SigningKey_State.STATE_PENDING,
  active: SigningKey_State.STATE_ACTIVE,
  retired: SigningKey_State.STATE_RETIRED,
} as const;

export const listSigningKeys =
  ({ keys }: TokenParts) =>
  async (_request: ListSigningKeysRequest): Promise<ListSigningKeysResponse> => {
    await keys.reload();
    return { signingKeys: keys.published.map(toMessage) };
  };

export const rotateSigningKey =
  ({ keys, audit }: TokenParts) =>
  async ({ algorithm }: RotateSigningKeyRequest, context: Context): Promise<SigningKeyMessage> => {
    const key = await keys.rotate(algorithm ? (algorithm as SigningAlgorithm) : undefined);
    await audit.write({
      ...actorOf(context),
      action: "signingKey.rotate",
      target: `signingKeys/${key.id}`,
      details: { algorithm: key.algorithm },
    });
    return toMessage(key);
  };

function toMessage({
  id,
  state,
  algorithm,
  createdAt,
  activatesAt,
}: SigningKey): SigningKeyMessage {
  return {
    name: `signingKeys/${id}`,
    state: STATES[state],
    algorithm,
    createTime: createdAt,
    activateTime: activatesAt,
  };
}
