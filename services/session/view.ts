import type { Session } from "waybill";
import { Mode } from "#proto/waybill/options/v1/options.ts";
import type { SessionState, Session as SessionView } from "#proto/waybill/session/v1/session.ts";

/** Returns the client's view of a session. @param version the version after the call */
export function view(session: Session<SessionState>, version = session.version): SessionView {
  const isNew = version !== session.version;
  return {
    name: `sessions/${session.id}`,
    version,
    idleExpireTime: new Date(isNew ? session.nextIdleExpiresAt : session.idleExpiresAt),
    expireTime: new Date(session.expiresAt),
    mode: session.anchored ? Mode.MODE_ANCHORED : Mode.MODE_CARRIED,
  };
}
