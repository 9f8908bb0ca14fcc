import type { Context } from "waybill";
import type {
  BindSessionRequest,
  BindSessionResponse,
  SessionState,
} from "#proto/waybill/session/v1/session.ts";
import { view } from "./view.ts";

/** Continues an anonymous session as the caller's, in a new session with the same state. */
export async function bindSession(
  _request: BindSessionRequest,
  { session }: Context<SessionState>,
): Promise<BindSessionResponse> {
  return { session: view(session, 1), waybill: undefined };
}
