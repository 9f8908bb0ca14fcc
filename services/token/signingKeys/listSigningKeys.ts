import {
  type ListSigningKeysRequest,
  type ListSigningKeysResponse,
  SigningKey_State,
  type SigningKey as SigningKeyMessage,
} from "#proto/waybill/token/v1/token.ts";
import type { TokenDependencies } from "../index.ts";
import type { SigningKey } from "./signingKeys.ts";

const STATES = {
  pending: SigningKey_State.STATE_PENDING,
  active: SigningKey_State.STATE_ACTIVE,
  retired: SigningKey_State.STATE_RETIRED,
} as const;

/** Lists the keys that access tokens are signed with, newest first. */
export const listSigningKeys =
  ({ keys }: TokenDependencies) =>
  async (_request: ListSigningKeysRequest): Promise<ListSigningKeysResponse> => {
    await keys.reload();
    return { signingKeys: keys.published.map(toSigningKey) };
  };

export function toSigningKey({
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
