import type { Context } from "waybill";
import type {
  CheckpointSessionRequest,
  CheckpointSessionResponse,
  SessionState,
} from "#proto/waybill/session/v1/session.ts";
import { view } from "./view.ts";

/** Saves a checkpoint of the caller's session, so that ResumeSession can resume it. */
export async function checkpointSession(
  _request: CheckpointSessionRequest,
  context: Context<SessionState>,
): Promise<CheckpointSessionResponse> {
  context.checkpoint();
  return { session: view(context.session), waybill: undefined };
}
