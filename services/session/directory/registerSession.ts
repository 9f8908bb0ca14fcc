import type { Context } from "waybill";
import type {
  RegisterSessionRequest,
  RegisterSessionResponse,
} from "#proto/waybill/session/v1/directory.ts";
import { uuidFromBytes } from "#shared/runtime/uuid.ts";
import type { SessionDependencies } from "../index.ts";

/** Adds a session of the calling service to its owner's list. */
export const registerSession =
  ({ directory }: Pick<SessionDependencies, "directory">) =>
  async (
    { sessionId, subject, expireTime }: RegisterSessionRequest,
    { caller }: Context,
  ): Promise<RegisterSessionResponse> => {
    const id = uuidFromBytes(sessionId);
    // A service can register only sessions of its own audience.
    await directory.of(caller.service!).register({ id, subject, expiresAt: expireTime!.getTime() });
    return {};
  };
