/**
 * A replica of a service without its own Postgres: the sessions of SessionService, anchored at the cluster's
 * session service. Sends its address to its parent process and exits with it.
 *
 * Usage: forked, with SESSION_SERVICE CREDENTIALS_DIR
 */
import { type Contract, RemoteAnchors, Server } from "waybill";
import { Assertions, loadCredentials } from "waybill/auth";
import { SavedResponses, savedAudience } from "waybill/postgres";
import { SessionServiceService, SessionState } from "#proto/waybill/session/v1/session.ts";
import type { SessionDependencies } from "../../../services/session/index.ts";
import { sessionHandlers } from "../../../services/session/index.ts";
import { contract } from "../../support/clients.ts";
import { makeRingSource } from "../../support/rings.ts";

// Uses the key of a cluster's service that has no anchors.
const AUDIENCE = "catalog";
const elsewhere: Contract = {
  ...contract,
  method(path) {
    const method = contract.method(path);
    if (method.session === undefined) return method;
    return { ...method, session: { ...method.session, audience: AUDIENCE, anchor: "session" } };
  },
};

const [sessionService, credentialsDir] = process.argv.slice(2) as [string, string];
const assertions = new Assertions(loadCredentials(credentialsDir), AUDIENCE);
const anchors = new RemoteAnchors(sessionService, { contract }, assertions, "elsewhere");
const savedResponses = new SavedResponses(AUDIENCE, makeRingSource(savedAudience(AUDIENCE)));
const server = new Server({ contract: elsewhere });
// Lists and revocations would need a database.
server.add(SessionServiceService, sessionHandlers({} as SessionDependencies), {
  state: SessionState,
  ring: makeRingSource(AUDIENCE),
  anchorage: { anchors, savedResponses },
});
process.send?.(`127.0.0.1:${await server.listen("127.0.0.1:0")}`);
process.once("disconnect", () => process.exit());
