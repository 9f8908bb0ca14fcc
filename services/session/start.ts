import { Cursors } from "waybill";
import { Checkpoints, Spills } from "waybill/postgres";
import { AnchorServiceService } from "#proto/waybill/session/v1/anchors.ts";
import { DirectoryServiceService } from "#proto/waybill/session/v1/directory.ts";
import { SessionServiceService, SessionState } from "#proto/waybill/session/v1/session.ts";
import type { SessionConfig } from "../replica/config/config.ts";
import type { ReplicaDependencies } from "../replica/replicaDependencies.ts";
import { registerSession } from "./directory/registerSession.ts";
import { SessionDirectory } from "./directory/sessionDirectory.ts";
import { anchorHandlers, anchorsOf, sessionHandlers } from "./index.ts";

export function startSession(replica: ReplicaDependencies, config: SessionConfig): void {
  const { server, feed, log } = replica;
  const db = replica.database("session", config.database);
  const directory = new SessionDirectory(db);
  const ring = replica.ringOf("session");
  const listed = directory.of("session");
  const anchorage = { ...replica.anchorage("session", db), directory: listed };
  const checkpoints = new Checkpoints(db, "session", anchorage.savedResponses, {
    directory: listed,
    failed: (err) =>
      log.warn(
        { err },
        "failed to save a session's checkpoint; a later advance saves the next one",
      ),
  });
  const cursors = new Cursors("session", ring);
  server.add(SessionServiceService, sessionHandlers({ db, directory, cursors, feed }), {
    state: SessionState,
    ring,
    revocations: feed,
    spills: new Spills(db, "session"),
    anchorage,
    checkpoints,
  });
  server.add(AnchorServiceService, anchorHandlers(anchorsOf(db), replica.longestSessionS, log));
  server.add(DirectoryServiceService, { registerSession: registerSession({ directory }) });
}
