import type { SessionState, Session as SessionView } from "#proto/waybill/session/v1/session.ts";
import type { Session } from "#shared/waybill/sessions.ts";

/** A session as its holder may see it. @param version as of the answer */
export function view(session: Session<SessionState>, version: number): SessionView {
  return {
    name: `sessions/${session.id}`,
    version,
    idleExpireTime: new Date(session.idleExpiresAt),
    expireTime: new Date(session.expiresAt),
  };
}
