import type { Context } from "waybill";
import type {
  OpenSessionRequest,
  OpenSessionResponse,
  SessionState,
} from "#proto/waybill/session/v1/session.ts";
import { view } from "./view.ts";

/** Reads a session's state. */
export async function openSession(
  _request: OpenSessionRequest,
  { session }: Context<SessionState>,
): Promise<OpenSessionResponse> {
  return {
    session: view(session),
    state: session.state,
    waybill: undefined,
  };
}
