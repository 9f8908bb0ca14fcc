import type { EnvelopeV1, SavedResponseV1 } from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import type { CheckpointStore } from "../anchors/checkpoints.ts";
import type { MethodContract } from "../contract/contract.ts";
import { StatusError } from "../errors.ts";
import { isAnonymous } from "../waybill/owner.ts";
import type { OpenSession } from "../waybill/session.ts";
import { AnchoredCall, type Write } from "./anchoredCall.ts";
import type { Codec, Handler, SessionCall } from "./call.ts";
import { readRequestIdentity } from "./idempotency.ts";
import type { MethodSessions, Opened } from "./methodSessions.ts";
import type { Anchorage } from "./options.ts";

/** A method whose sessions may be anchored, with the dependencies of its calls. */
export interface AnchoredMethod<State> {
  readonly method: MethodContract;
  readonly codec: Codec;
  readonly next: Handler;
  readonly sessions: MethodSessions<State>;
  readonly anchorage: Anchorage;
  readonly checkpoints: CheckpointStore;
}

/** KeyedQueue the handler's response into writes. The first is the one that a retry is replayed from. */
type Plan<State> = (call: AnchoredCall<State>, response: Buffer) => Promise<Write[]>;

/**
 * The steps of one unary method with anchored sessions: open, replay, handler, compare-and-set, seal. A
 * retry with the same waybill, idempotency key and request gets the saved response.
 */
export class AnchoredSteps<State> {
  readonly on: AnchoredMethod<State>;

  constructor(on: AnchoredMethod<State>) {
    this.on = on;
  }

  /** With MODE_EITHER the handler may choose that the session is carried. */
  async begin(request: unknown, call: SessionCall, opened: Opened<State>): Promise<unknown> {
    const { next, sessions, anchorage, checkpoints } = this.on;
    const { session, carrier } = opened;
    const anchored = new AnchoredCall(sessions, anchorage, session);
    const { transaction } = anchored;
    call.openTransaction = () => transaction.open();
    await anchored.register();
    try {
      const response = await transaction.run(() => next(request, call));
      await anchored.register();
      const successor = await anchored.successor(opened);
      const deliver = sessions.seal(carrier, successor);
      if (session.anchored) await anchored.commit(anchored.first(session, successor));
      else {
        await anchored.commit();
        await checkpoints.saveIfDue(successor, call.wantsCheckpoint);
      }
      deliver(call, response);
      return response;
    } catch (error) {
      await transaction.abandon();
      throw error;
    }
  }

  async advance(request: unknown, call: SessionCall, opened: Opened<State>): Promise<unknown> {
    return this.run(request, call, opened, async (anchored, response) => [
      anchored.next(response, await anchored.successor(opened)),
    ]);
  }

  async end(request: unknown, call: SessionCall, opened: Opened<State>): Promise<unknown> {
    const response = await this.run(request, call, opened, async (anchored, encoded) => [
      anchored.next(encoded, undefined),
    ]);
    const { subject } = opened.session;
    // A stranger can begin and end sessions without limit: anonymous ones are not revoked.
    if (!isAnonymous(subject)) await this.revokeEnded(opened.session, subject);
    return response;
  }

  /**
   * Runs one call that starts from a version of its session.
   *
   * @param begun a new session that the plan anchors, too
   * @param isAtomic the plan's writes are committed in one transaction
   */
  async run(
    request: unknown,
    call: SessionCall,
    opened: Opened<State>,
    plan: Plan<State>,
    { begun, isAtomic = false }: { begun?: OpenSession<State>; isAtomic?: boolean } = {},
  ): Promise<unknown> {
    const { next, codec, sessions, anchorage } = this.on;
    const { session } = opened;
    const identity = this.identityOf(request, call);
    const anchored = new AnchoredCall(sessions, anchorage, session, identity);
    const { transaction } = anchored;
    call.openTransaction = () => transaction.open();
    if (begun !== undefined) await anchored.register(begun);
    try {
      const response = codec.responseSerialize(await transaction.run(() => next(request, call)));
      if (isAtomic) await transaction.open();
      const writes = await plan(anchored, response);
      // Sealed before anything is written: a waybill that is too large is refused with nothing done.
      const deliver = this.delivery(opened, writes[0]!.response);
      if (await anchored.commit(...writes.toReversed())) return deliver(call);
    } catch (error) {
      const wasLocked = await transaction.abandon();
      // The handler may have seen old state. Its error counts only if the session was at that state: else
      // the replay, or the error of the look-up, takes its place.
      const saved = wasLocked ? undefined : await anchored.replay();
      if (saved === undefined) throw error;
      return this.deliver(call, opened, saved);
    }
    // Another call has won the compare-and-set: an earlier attempt of this one, or a different call.
    const saved = await anchored.replay();
    if (saved === undefined) throw new Error(`session ${session.id} did not advance`);
    return this.deliver(call, opened, saved);
  }

  /** Answers with a saved response. */
  deliver(call: SessionCall, opened: Opened<State>, saved: SavedResponseV1): unknown {
    return this.delivery(opened, saved)(call);
  }

  /** Reads the identity of the request, apart from its waybill. */
  identityOf(request: unknown, call: SessionCall): ReturnType<typeof readRequestIdentity> {
    return readRequestIdentity(call, encodeBare(request, this.on));
  }

  /**
   * Revokes the waybills of a session that has ended, so that reads are refused, too. Its anchor refuses
   * writes already: so the call succeeds even when the owner has too many revocations.
   */
  async revokeEnded(session: OpenSession<State>, owner: string): Promise<void> {
    try {
      await this.on.sessions.revoke(session, owner);
    } catch (error) {
      const isFull = error instanceof StatusError && error.reason === "TOO_MANY_SESSIONS_ENDED";
      if (!isFull) throw error;
    }
  }

  /**
   * Seals a response's waybill for the carrier of the call.
   *
   * @throws StatusError WAYBILL_TOO_LARGE, KEYS_UNAVAILABLE
   */
  delivery(
    { carrier }: Opened<State>,
    { response, successor }: { response: Buffer; successor?: EnvelopeV1 | undefined },
  ): (call: SessionCall) => unknown {
    const { sessions, codec } = this.on;
    const seal = successor && sessions.seal(carrier, successor);
    return (call) => {
      // The encoded response is sent as it is, unless a waybill goes into the message.
      const whole = sessions.isWhole(carrier) ? response : codec.responseDeserialize(response);
      if (seal === undefined) call.replyWith("");
      else seal(call, whole);
      return whole;
    };
  }
}

/** Encodes a request without its waybill. */
export function encodeBare(
  request: unknown,
  { method, codec }: { method: MethodContract; codec: Codec },
): Buffer {
  const { requestCarrier } = method;
  if (requestCarrier === undefined) return codec.requestSerialize(request);
  return codec.requestSerialize({ ...(request as object), [requestCarrier]: undefined });
}
