import { SessionServiceService, SessionState } from "#proto/waybill/session/v1/session.ts";
import type { ReplicaParts } from "../replicaParts.ts";
import { sessionHandlers } from "./index.ts";

export function startSession({ server, ringOf, feed }: ReplicaParts): void {
  const parts = { state: SessionState, ring: ringOf("session"), revocations: feed };
  server.add(SessionServiceService, sessionHandlers, parts);
}
