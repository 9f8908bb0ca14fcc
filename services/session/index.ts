import type { SessionServiceService, SessionState } from "#proto/waybill/session/v1/session.ts";
import type { Handlers } from "#shared/grpc/handlers.ts";
import { advanceSession } from "./advanceSession.ts";
import { beginSession } from "./beginSession.ts";
import { bindSession } from "./bindSession.ts";
import { endSession } from "./endSession.ts";
import { openSession } from "./openSession.ts";

export const sessionHandlers: Handlers<typeof SessionServiceService, SessionState> = {
  beginSession,
  openSession,
  advanceSession,
  bindSession,
  endSession,
};
