import { Step } from "../../proto/gen/waybill/options/v1/options.ts";
import type { Sessions } from "../waybill/sessions.ts";
import { type Anchorage, anchoredInterceptor, type Codec } from "./anchored.ts";
import type { Handler } from "./call.ts";
import { carriedInterceptor } from "./carried.ts";
import type { MethodContract } from "./contract.ts";
import { SessionCalls, type SessionRevocations } from "./sessionCalls.ts";

/**
 * Opens the call's waybill once, before the handler, and seals what the handler has changed, after
 * it. What happens is the method's step in the contract.
 *
 * @param anchorage required where the contract's sessions are anchored
 */
export function sessionInterceptor<State>(
  method: MethodContract,
  codec: Codec,
  next: Handler,
  sessions: Sessions<State>,
  feed: SessionRevocations | undefined,
  anchorage: Anchorage | undefined,
): Handler {
  const calls = new SessionCalls(method, sessions, feed);
  const { step, session } = method;
  if (session === undefined) return next;
  // A read asks nobody: what it answers is as of its waybill.
  if (!session.anchored || step === Step.STEP_READ) return carriedInterceptor(step, next, calls);
  if (anchorage === undefined) throw new Error(`${method.path} is anchored: give anchors`);
  return anchoredInterceptor(method, codec, next, calls, anchorage);
}
