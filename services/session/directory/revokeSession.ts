import { type Context, Errors } from "waybill";
import type {
  RevokeSessionRequest,
  RevokeSessionResponse,
  SessionState,
} from "#proto/waybill/session/v1/session.ts";
import { MAX_SKEW_S } from "#shared/auth/tokens/accessTokens.ts";
import type { SessionDependencies } from "../index.ts";
import { readEntry } from "../sql/readEntry.ts";

/** Revokes one of the caller's sessions without its waybill. */
export const revokeSession =
  ({ db, feed }: SessionDependencies) =>
  async (
    { name }: RevokeSessionRequest,
    { token: { subject } }: Context<SessionState>,
  ): Promise<RevokeSessionResponse> => {
    const id = name.slice("sessions/".length);
    const entry = await readEntry(db, id, subject);
    if (entry === undefined) throw Errors.SESSION_NOT_FOUND();
    const leftS = (entry.expiresAt.getTime() - Date.now()) / 1000;
    const target = { $case: "session", value: { id, owner: subject } } as const;
    await feed.revoke([target], leftS + MAX_SKEW_S);
    return {};
  };
