import { Cursors } from "waybill";
import { Checkpoints, Spills } from "waybill/postgres";
import { AnchorServiceService } from "#proto/waybill/session/v1/anchors.ts";
import { DirectoryServiceService } from "#proto/waybill/session/v1/directory.ts";
import { SessionServiceService, SessionState } from "#proto/waybill/session/v1/session.ts";
import { longestSessionS } from "../replica/longestSession.ts";
import type { ReplicaDependencies } from "../replica/replicaDependencies.ts";
import { registerSession } from "./directory/registerSession.ts";
import { SessionDirectory } from "./directory/sessionDirectory.ts";
import { anchorHandlers, anchorsOf, sessionHandlers } from "./index.ts";

export function startSession(replica: ReplicaDependencies): void {
  const { server, feed } = replica;
  const db = replica.database("session");
  const directory = new SessionDirectory(db);
  const ring = replica.ringOf("session");
  const listed = directory.of("session");
  const anchorage = { ...replica.anchorage("session", db), directory: listed };
  const checkpoints = new Checkpoints(db, "session", anchorage.savedResponses, {
    directory: listed,
    failed: (err) => replica.log.warn({ err }, "a session's checkpoint was not made"),
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
  server.add(
    AnchorServiceService,
    anchorHandlers(anchorsOf(db), longestSessionS(replica), replica.log),
  );
  server.add(DirectoryServiceService, { registerSession: registerSession({ directory }) });
}
