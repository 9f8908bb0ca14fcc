import { type Context, letGo } from "waybill";
import {
  type AdvanceSessionRequest,
  type AdvanceSessionResponse,
  SessionState,
} from "#proto/waybill/session/v1/session.ts";
import { view } from "./view.ts";

/** Replaces a session's state. */
export async function advanceSession(
  { state }: AdvanceSessionRequest,
  { session }: Context<SessionState>,
): Promise<AdvanceSessionResponse> {
  const before = SessionState.encode(session.state).finish();
  // The request replaces the whole state: fields of newer programs in the old one must not survive.
  letGo(session.state.value);
  session.state = state!;
  // An unchanged state does not advance a carried session.
  const changed =
    session.anchored || Buffer.compare(before, SessionState.encode(session.state).finish()) !== 0;
  return {
    session: view(session, session.version + (changed ? 1 : 0)),
    waybill: undefined,
  };
}
