import type { Waybill } from "../../proto/gen/waybill/options/v1/options.ts";
import { Step } from "../../proto/gen/waybill/options/v1/options.ts";
import { Errors, StatusError } from "../errors/errors.ts";
import {
  type Arrival,
  receive,
  toField,
  toMetadataValue,
  WAYBILL_KEY,
} from "../waybill/carriers.ts";
import type { Sealed } from "../waybill/jwe.ts";
import type { OpenSession, Sessions } from "../waybill/sessions.ts";
import type { Call, Handler } from "./call.ts";
import type { MethodContract } from "./contract.ts";

/**
 * Opens the call's waybill once, before the handler, and seals what the handler has changed, after
 * it. What happens is the method's step in the contract.
 */
export function sessionInterceptor<State>(
  method: MethodContract,
  next: Handler,
  sessions: Sessions<State>,
): Handler {
  const arrival = (request: unknown, call: Call) =>
    receive(call.metadata, fieldOf(request, method.requestCarrier));

  const reply = (
    call: Call,
    response: unknown,
    carrier: Arrival["carrier"],
    session: OpenSession<State>,
    state: Uint8Array,
    version: number,
  ) => {
    const sealed = sessions.seal(session, state, version);
    if (carrier === "message" && method.responseCarrier !== undefined) {
      (response as Record<string, unknown>)[method.responseCarrier] = toField(sealed);
    } else {
      call.reply.set(WAYBILL_KEY, toMetadataValue(sealed));
    }
    return response;
  };

  /** Whose an earlier session was. Who comes after its end begins as a new one. */
  const subjectOf = async (sealed: Sealed): Promise<string | undefined> => {
    try {
      return (await sessions.open(sealed)).subject;
    } catch (error) {
      if (error instanceof StatusError && error.reason === "WAYBILL_EXPIRED") return undefined;
      throw error;
    }
  };

  if (method.step === Step.STEP_BEGIN) {
    return async (request, call) => {
      const { sealed, carrier } = arrival(request, call);
      const session = sessions.begin(sealed && (await subjectOf(sealed)));
      call.opened = session;
      const response = await next(request, call);
      return reply(call, response, carrier, session, sessions.encode(session.state), 1);
    };
  }

  const open = async (request: unknown, call: Call) => {
    const { sealed, carrier } = arrival(request, call);
    if (sealed === undefined) throw Errors.WAYBILL_MISSING();
    const session = await sessions.open(sealed);
    call.opened = session;
    return { session, carrier, before: carriedState(session) };
  };

  switch (method.step) {
    case Step.STEP_READ:
      return async (request, call) => {
        const { session, carrier, before } = await open(request, call);
        const response = await next(request, call);
        if (!sessions.isAging(session)) return response;
        return reply(call, response, carrier, session, before, session.version);
      };
    case Step.STEP_ADVANCE:
      return async (request, call) => {
        const { session, carrier, before } = await open(request, call);
        const response = await next(request, call);
        const after = sessions.encode(session.state);
        if (before.equals(after)) {
          if (!sessions.isAging(session)) return response;
          return reply(call, response, carrier, session, before, session.version);
        }
        return reply(call, response, carrier, session, after, session.version + 1);
      };
    case Step.STEP_END:
      return async (request, call) => {
        await open(request, call);
        const response = await next(request, call);
        call.reply.set(WAYBILL_KEY, "");
        return response;
      };
    default:
      return next;
  }
}

function fieldOf(request: unknown, name: string | undefined): Waybill | undefined {
  return name === undefined ? undefined : (request as Record<string, Waybill | undefined>)[name];
}

function carriedState(session: OpenSession<unknown>): Buffer {
  const { content } = session.envelope;
  return content?.$case === "state" ? content.value : Buffer.alloc(0);
}
