import type {
  ResumeSessionRequest,
  ResumeSessionResponse,
  SessionState,
} from "#proto/waybill/session/v1/session.ts";
import type { Context } from "#shared/contract/handlers.ts";
import { view } from "./view.ts";

/** Resumes one of the caller's sessions without its waybill. */
export async function resumeSession(
  _request: ResumeSessionRequest,
  { session }: Context<SessionState>,
): Promise<ResumeSessionResponse> {
  return { session: view(session, session.version + 1), state: session.state };
}
