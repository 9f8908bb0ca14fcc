import { Step } from "../../proto/gen/waybill/options/v1/options.ts";
import { WAYBILL_KEY } from "../waybill/carriers.ts";
import { isAnonymous, type OpenSession } from "../waybill/sessions.ts";
import type { Handler } from "./call.ts";
import type { SessionCalls } from "./sessionCalls.ts";

/** Sessions of which nothing is kept. Reads of anchored ones are no different. */
export function carriedInterceptor<State>(
  step: Step,
  next: Handler,
  calls: SessionCalls<State>,
): Handler {
  const { sessions } = calls;
  switch (step) {
    case Step.STEP_BEGIN:
      return async (request, call) => {
        const { session, carrier } = await calls.begin(request, call);
        const response = await next(request, call);
        calls.seal(carrier, sessions.successor(session, sessions.encode(session.state)))(
          call,
          response,
        );
        return response;
      };
    case Step.STEP_READ:
      return async (request, call) => {
        const { session, carrier } = await calls.open(request, call);
        const before = carriedState(session);
        const response = await next(request, call);
        if (!sessions.isAging(session)) return response;
        calls.seal(carrier, sessions.successor(session, before, session.version))(call, response);
        return response;
      };
    case Step.STEP_ADVANCE:
      return async (request, call) => {
        const { session, carrier } = await calls.open(request, call);
        const before = carriedState(session);
        const response = await next(request, call);
        const after = sessions.encode(session.state);
        const isSame = before.equals(after);
        if (isSame && !sessions.isAging(session)) return response;
        const version = isSame ? session.version : session.version + 1;
        calls.seal(carrier, sessions.successor(session, after, version))(call, response);
        return response;
      };
    case Step.STEP_END:
      return async (request, call) => {
        const { session } = await calls.open(request, call);
        const response = await next(request, call);
        // Strangers could begin and end sessions without limit: theirs are not worth remembering.
        if (!isAnonymous(session.subject)) await calls.revoke(session, session.subject);
        call.reply.set(WAYBILL_KEY, "");
        return response;
      };
    case Step.STEP_BIND:
      return async (request, call) => {
        const { session: old, carrier } = await calls.open(request, call);
        const session = calls.bind(old, call);
        const response = await next(request, call);
        const successor = sessions.successor(session, sessions.encode(session.state));
        calls.seal(carrier, successor)(call, response);
        await calls.revoke(old, session.subject);
        return response;
      };
    default:
      return next;
  }
}

function carriedState(session: OpenSession<unknown>): Buffer {
  const { content } = session.envelope;
  return content?.$case === "state" ? content.value : Buffer.alloc(0);
}
