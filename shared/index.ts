/** `waybill`: the API for services: contract, server, sessions, errors and key rings. */

export { RemoteAnchors } from "./anchors/remote/remoteAnchors.ts";
export { RemoteDirectory } from "./anchors/remote/remoteDirectory.ts";
export { refusedValue } from "./auth/passedOn.ts";
export { ResponseCache } from "./cache/responseCache.ts";
export { type Contract, loadContract, type MethodContract } from "./contract/contract.ts";
export type { Caller, Context, Handlers } from "./contract/handlers.ts";
export { type ErrorReport, Errors, readError, StatusError, vocabulary } from "./errors.ts";
export { fixedRing, type Ring, type RingSource } from "./rings/ring.ts";
export { RingWatcher } from "./rings/ringWatcher.ts";
export { Server, type ServerOptions } from "./server/server.ts";
export type { Anchorage, SessionOptions } from "./session/options.ts";
export { Cursors, cutPage, pageSize } from "./waybill/cursors.ts";
export type { Session } from "./waybill/session.ts";
export { letGo } from "./waybill/state/unknownFields.ts";
export { type Upgrade, type Upgrades, upgrade } from "./waybill/state/upgrades.ts";
