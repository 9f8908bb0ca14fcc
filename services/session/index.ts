import type { AnchorServiceService } from "#proto/waybill/session/v1/anchors.ts";
import type { SessionServiceService, SessionState } from "#proto/waybill/session/v1/session.ts";
import type { Handlers } from "#shared/contract/handlers.ts";
import { advanceAnchors } from "./advanceAnchors.ts";
import { advanceSession } from "./advanceSession.ts";
import type { AnchorsOf } from "./anchorsOf.ts";
import { beginAnchors } from "./beginAnchors.ts";
import { beginSession } from "./beginSession.ts";
import { bindSession } from "./bindSession.ts";
import { checkpointSession } from "./checkpointSession.ts";
import { endSession } from "./endSession.ts";
import { getAdvance } from "./getAdvance.ts";
import { getAnchor } from "./getAnchor.ts";
import { listSavedResponses } from "./listSavedResponses.ts";
import { listSessions } from "./listSessions.ts";
import { openSession } from "./openSession.ts";
import type { SessionOptions } from "./parts.ts";
import { resumeSession } from "./resumeSession.ts";
import { revokeSession } from "./revokeSession.ts";

export function sessionHandlers(
  parts: SessionOptions,
): Handlers<typeof SessionServiceService, SessionState> {
  return {
    beginSession,
    openSession,
    advanceSession,
    bindSession,
    checkpointSession,
    resumeSession,
    listSessions: listSessions(parts),
    revokeSession: revokeSession(parts),
    endSession,
  };
}

/** @param keepS how long an anchor is kept from its begin, in seconds */
export function anchorHandlers(
  of: AnchorsOf,
  keepS: number,
): Handlers<typeof AnchorServiceService> {
  return {
    beginAnchors: beginAnchors(of, keepS),
    advanceAnchors: advanceAnchors(of),
    getAnchor: getAnchor(of),
    getAdvance: getAdvance(of),
    listSavedResponses: listSavedResponses(of),
  };
}
