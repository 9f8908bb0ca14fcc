import type { Context } from "waybill";
import type {
  ResumeSessionRequest,
  ResumeSessionResponse,
  SessionState,
} from "#proto/waybill/session/v1/session.ts";
import { view } from "./view.ts";

/** Resumes one of the caller's sessions without its waybill. */
export async function resumeSession(
  _request: ResumeSessionRequest,
  { session }: Context<SessionState>,
): Promise<ResumeSessionResponse> {
  return { session: view(session, session.version + 1), state: session.state };
}
