import type { Context } from "waybill";
import { Mode } from "#proto/waybill/options/v1/options.ts";
import type {
  BeginSessionRequest,
  BeginSessionResponse,
  SessionState,
} from "#proto/waybill/session/v1/session.ts";
import { view } from "./view.ts";

/** Begins a session with a first state. */
export async function beginSession(
  { state, mode, checkpointEvery }: BeginSessionRequest,
  { session }: Context<SessionState>,
): Promise<BeginSessionResponse> {
  session.anchored = mode === Mode.MODE_ANCHORED;
  if (checkpointEvery !== undefined) session.checkpointEvery = checkpointEvery;
  session.state = state!;
  return { session: view(session, 1), waybill: undefined };
}
