import type { Waybill } from "../../proto/gen/waybill/options/v1/options.ts";
import { Step } from "../../proto/gen/waybill/options/v1/options.ts";
import { Errors, StatusError } from "../errors/errors.ts";
import type { Revocations } from "../token/revocations.ts";
import {
  type Arrival,
  receive,
  toField,
  toMetadataValue,
  WAYBILL_KEY,
} from "../waybill/carriers.ts";
import type { Sealed } from "../waybill/jwe.ts";
import { isAnonymous, type OpenSession, type Owner, type Sessions } from "../waybill/sessions.ts";
import { uuidFromBytes } from "../waybill/uuid.ts";
import type { Call, Handler } from "./call.ts";
import type { MethodContract } from "./contract.ts";

/** What is revoked, and where to say that something is. */
export interface SessionRevocations {
  readonly revocations: Pick<Revocations, "assertFresh" | "has">;
  revoke(
    targets: readonly {
      readonly $case: "session";
      readonly value: { readonly id: string; readonly owner: string };
    }[],
    ttlS: number,
  ): Promise<void>;
}

/**
 * Opens the call's waybill once, before the handler, and seals what the handler has changed, after
 * it. What happens is the method's step in the contract.
 */
export function sessionInterceptor<State>(
  method: MethodContract,
  next: Handler,
  sessions: Sessions<State>,
  feed: SessionRevocations | undefined,
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

  /** The waybill's session, if it is the caller's and nobody has ended it. */
  const openFor = async (sealed: Sealed, call: Call): Promise<OpenSession<State>> => {
    const session = await sessions.open(sealed, ownerOf(call));
    if (feed !== undefined) {
      // Ending what has been ended already is what a caller does who has lost the answer.
      const isEnd = method.step === Step.STEP_END;
      assertNotRevoked(session, feed.revocations, isEnd ? undefined : session.id);
    }
    return session;
  };

  /** Whose an earlier session was. Who comes after its end begins as a new one. */
  const subjectOf = async (sealed: Sealed, call: Call): Promise<string | undefined> => {
    try {
      return (await openFor(sealed, call)).subject;
    } catch (error) {
      if (error instanceof StatusError && OVER.has(error.reason)) return undefined;
      throw error;
    }
  };

  if (method.step === Step.STEP_BEGIN) {
    return async (request, call) => {
      const { sealed, carrier } = arrival(request, call);
      const session = sessions.begin(ownerOf(call), sealed && (await subjectOf(sealed, call)));
      call.opened = session;
      const response = await next(request, call);
      return reply(call, response, carrier, session, sessions.encode(session.state), 1);
    };
  }

  const open = async (request: unknown, call: Call) => {
    const { sealed, carrier } = arrival(request, call);
    if (sealed === undefined) throw Errors.WAYBILL_MISSING();
    const session = await openFor(sealed, call);
    call.opened = session;
    return { session, carrier, before: carriedState(session) };
  };

  /** Refuses a session's waybills from now on, wherever they are. */
  const end = async ({ id, expiresAt }: OpenSession<State>, owner: string): Promise<void> => {
    const ttlS = Math.max(0, expiresAt - Date.now()) / 1000 + MAX_SKEW_S;
    await feed?.revoke([{ $case: "session", value: { id, owner } }], ttlS);
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
        const { session } = await open(request, call);
        const response = await next(request, call);
        // Strangers could begin and end sessions without limit: theirs are not worth remembering.
        if (!isAnonymous(session.subject)) await end(session, session.subject);
        call.reply.set(WAYBILL_KEY, "");
        return response;
      };
    case Step.STEP_BIND:
      return async (request, call) => {
        const { session: old, carrier } = await open(request, call);
        const session = sessions.begin(ownerOf(call));
        session.state = old.state;
        call.opened = session;
        const response = await next(request, call);
        const state = sessions.encode(session.state);
        const answer = reply(call, response, carrier, session, state, 1);
        await end(old, session.subject);
        return answer;
      };
    default:
      return next;
  }
}

/** Of a waybill that was good once: it is no hindrance to a new session. */
const OVER: ReadonlySet<string> = new Set(["WAYBILL_EXPIRED", "WAYBILL_REVOKED"]);

/** How far another replica's clock may be off, in seconds. */
const MAX_SKEW_S = 60;

/** @throws StatusError WAYBILL_REVOKED, REVOCATIONS_STALE */
function assertNotRevoked(
  { envelope }: OpenSession<unknown>,
  revocations: SessionRevocations["revocations"],
  session: string | undefined,
): void {
  const { subject, subjectEpoch: epoch, familyId } = envelope;
  // Who has no owner has nobody who could have him ended: that goes on being served.
  if (!isAnonymous(subject)) revocations.assertFresh();
  const family = familyId.length === 16 ? uuidFromBytes(familyId) : undefined;
  if (revocations.has({ subject, epoch, family, session })) throw Errors.WAYBILL_REVOKED();
}

function ownerOf({ caller: { token } }: Call): Owner | undefined {
  if (token === undefined) return undefined;
  const { subject, client, epoch, family, confirmation } = token;
  return { subject, client, epoch, family, thumbprint: confirmation?.thumbprint };
}

function fieldOf(request: unknown, name: string | undefined): Waybill | undefined {
  return name === undefined ? undefined : (request as Record<string, Waybill | undefined>)[name];
}

function carriedState(session: OpenSession<unknown>): Buffer {
  const { content } = session.envelope;
  return content?.$case === "state" ? content.value : Buffer.alloc(0);
}
