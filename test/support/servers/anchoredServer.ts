import { SessionServiceService, SessionState } from "#proto/waybill/session/v1/session.ts";
import { Anchors } from "#shared/anchors/anchors.ts";
import { SavedResponses, savedAudience } from "#shared/anchors/savedResponses.ts";
import type { Handlers } from "#shared/contract/handlers.ts";
import type { Pool } from "#shared/pg/pool.ts";
import { Server } from "#shared/server/server.ts";
import { Cursors } from "#shared/waybill/cursors.ts";
import { SessionDirectory } from "../../../services/session/directory/sessionDirectory.ts";
import { sessionHandlers } from "../../../services/session/index.ts";
import { contract } from "../clients.ts";
import { makeRingSource } from "../rings.ts";

/** Keys shared by all replicas of a test. */
export interface Rings {
  readonly waybills: ReturnType<typeof makeRingSource>;
  readonly savedResponses: SavedResponses;
}

export function makeRings(): Rings {
  return {
    waybills: makeRingSource("session"),
    savedResponses: new SavedResponses("session", makeRingSource(savedAudience("session"))),
  };
}

type SessionHandlers = Handlers<typeof SessionServiceService, SessionState>;

/** Starts a replica of the session service in the test's process, on a real Postgres. */
export async function serveSessions(
  db: Pool,
  { waybills: ring, savedResponses }: Rings,
  {
    anchors = new Anchors(db, "session", "test"),
    handlers = {},
  }: { anchors?: Anchors; handlers?: Partial<SessionHandlers> } = {},
): Promise<{ target: string; server: Server; failures: unknown[] }> {
  const failures: unknown[] = [];
  const log = {
    error: (entry: unknown) => failures.push(entry),
    warn: (entry: unknown) => failures.push(entry),
    info() {},
    debug() {},
  };
  const server = new Server({ contract, log: log as never });
  const feed = {
    revocations: { assertFresh() {}, has: () => false },
    revoke: async () => {},
  };
  const directory = new SessionDirectory(db);
  const usual = sessionHandlers({ db, directory, cursors: new Cursors("session", ring), feed });
  server.add(
    SessionServiceService,
    { ...usual, ...handlers },
    { state: SessionState, ring, anchorage: { anchors, savedResponses } },
  );
  const port = await server.listen("127.0.0.1:0");
  return { target: `127.0.0.1:${port}`, server, failures };
}
