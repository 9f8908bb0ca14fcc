import type { Context } from "waybill";
import type {
  EndSessionRequest,
  EndSessionResponse,
  SessionState,
} from "#proto/waybill/session/v1/session.ts";
import { view } from "./view.ts";

/** Ends a session and tells the client to drop its waybill. */
export async function endSession(
  _request: EndSessionRequest,
  { session }: Context<SessionState>,
): Promise<EndSessionResponse> {
  return { session: view(session) };
}
