import type { Logger } from "pino";
import type { Context, Cursors, Handlers, SessionOptions } from "waybill";
import { Anchors, type Pool } from "waybill/postgres";
import type { AnchorServiceService } from "#proto/waybill/session/v1/anchors.ts";
import type { SessionServiceService, SessionState } from "#proto/waybill/session/v1/session.ts";
import { advanceSession } from "./advanceSession.ts";
import { advanceAnchors } from "./anchors/advanceAnchors.ts";
import { beginAnchors } from "./anchors/beginAnchors.ts";
import { getAdvance } from "./anchors/getAdvance.ts";
import { getAnchor } from "./anchors/getAnchor.ts";
import { listSavedResponses } from "./anchors/listSavedResponses.ts";
import { beginSession } from "./beginSession.ts";
import { bindSession } from "./bindSession.ts";
import { checkpointSession } from "./checkpointSession.ts";
import { listSessions } from "./directory/listSessions.ts";
import { revokeSession } from "./directory/revokeSession.ts";
import type { SessionDirectory } from "./directory/sessionDirectory.ts";
import { endSession } from "./endSession.ts";
import { openSession } from "./openSession.ts";
import { resumeSession } from "./resumeSession.ts";

export interface SessionDependencies {
  db: Pool;
  directory: SessionDirectory;
  cursors: Cursors;
  feed: NonNullable<SessionOptions<SessionState>["revocations"]>;
}

export function sessionHandlers(
  dependencies: SessionDependencies,
): Handlers<typeof SessionServiceService, SessionState> {
  return {
    beginSession,
    openSession,
    advanceSession,
    bindSession,
    checkpointSession,
    resumeSession,
    listSessions: listSessions(dependencies),
    revokeSession: revokeSession(dependencies),
    endSession,
  };
}

/**
 * @param keepS retention of an anchor from the begin of its session, in seconds
 * @param log receives the cause of each unknown outcome
 */
export function anchorHandlers(
  of: AnchorsOf,
  keepS: number,
  log: Logger,
): Handlers<typeof AnchorServiceService> {
  return {
    beginAnchors: beginAnchors(of, keepS, log),
    advanceAnchors: advanceAnchors(of, log),
    getAnchor: getAnchor(of),
    getAdvance: getAdvance(of),
    listSavedResponses: listSavedResponses(of),
  };
}

/** Returns the anchors of the calling service, which cannot reach those of other services. */
export type AnchorsOf = (context: Pick<Context, "caller">) => Anchors;

export function anchorsOf(db: Pool): AnchorsOf {
  const made = new Map<string, Anchors>();
  return ({ caller: { service } }) => {
    // The caller is a service with a registered key: there are few, so the map stays small.
    let anchors = made.get(service!);
    if (anchors === undefined) {
      anchors = new Anchors(db, "session", service!, service!);
      made.set(service!, anchors);
    }
    return anchors;
  };
}
