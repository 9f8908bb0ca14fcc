import type {
  EndSessionRequest,
  EndSessionResponse,
  SessionState,
} from "#proto/waybill/session/v1/session.ts";
import type { Context } from "#shared/contract/handlers.ts";
import { view } from "./view.ts";

export async function endSession(
  _request: EndSessionRequest,
  { session }: Context<SessionState>,
): Promise<EndSessionResponse> {
  return { session: view(session) };
}
