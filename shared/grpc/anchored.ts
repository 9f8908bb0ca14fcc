import type { AnswerV1, EnvelopeV1 } from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import { Step } from "../../proto/gen/waybill/options/v1/options.ts";
import type { Anchors } from "../anchors/anchors.ts";
import type { Answers } from "../anchors/answers.ts";
import { isMadeAgain, isOf, settle } from "../anchors/settle.ts";
import { Errors, StatusError } from "../errors/errors.ts";
import type { Db } from "../pg/pool.ts";
import { SESSION_KEY, WAYBILL_KEY } from "../waybill/carriers.ts";
import { isAnonymous, type OpenSession } from "../waybill/sessions.ts";
import { singleValue } from "../waybill/singleValue.ts";
import { uuidToBytes } from "../waybill/uuid.ts";
import type { Call, Handler } from "./call.ts";
import type { MethodContract } from "./contract.ts";
import { HandlerTransaction } from "./handlerTransaction.ts";
import { type Asked, readAsked } from "./idempotency.ts";
import type { Opened, SessionCalls } from "./sessionCalls.ts";

/** Where the sessions of a service are anchored. */
export interface Anchorage {
  readonly anchors: Anchors;
  readonly answers: Answers;
}

/** How the messages of a method are encoded. */
export interface Codec {
  requestSerialize(request: unknown): Buffer;
  responseSerialize(response: unknown): Buffer;
  responseDeserialize(bytes: Buffer): unknown;
}

/** What a call does to the anchors when its handler is done. */
interface Ending {
  readonly answer: AnswerV1;
  /** Does it; false when another call was first. */
  commit(db: Db | undefined, sealed: Buffer): Promise<boolean>;
}

/** The answer that made the newest version. */
type Checkpoint = AnswerV1 & { readonly successor: EnvelopeV1 };

const SESSION_NAME = /^sessions\/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const NOTHING = Buffer.alloc(0);

/**
 * The steps that write an anchored session. One that was made before, with the same waybill, key and
 * request, is answered as it was then; of several at once one is made.
 */
export function anchoredInterceptor<State>(
  method: MethodContract,
  codec: Codec,
  next: Handler,
  calls: SessionCalls<State>,
  { anchors, answers }: Anchorage,
): Handler {
  const { sessions } = calls;

  /** Answers as a saved answer says. */
  const replay = (call: Call, { carrier }: Opened<State>, answer: AnswerV1): unknown => {
    const isWhole = calls.isWhole(carrier);
    const response = isWhole ? answer.response : codec.responseDeserialize(answer.response);
    if (answer.successor === undefined) call.reply.set(WAYBILL_KEY, "");
    else calls.seal(carrier, answer.successor)(call, response);
    return response;
  };

  /**
   * Runs the handler of a call that goes on from a waybill.
   *
   * @param isAtomic whether the ending is more than one statement
   */
  const advance = async (
    request: unknown,
    call: Call,
    opened: Opened<State>,
    end: (asked: Asked, response: Buffer) => Ending,
    isAtomic = false,
  ): Promise<unknown> => {
    const { session } = opened;
    const asked = readAsked(method.path, call.metadata, encodeRequest(request));
    let saved: AnswerV1 | undefined;
    const transaction = new HandlerTransaction(anchors.pool, async (db) => {
      const row = await anchors.lock(session.id, db);
      saved = await settle(row, session.envelope, asked, answers);
      if (saved !== undefined) throw new Error("the call was made before");
    });
    call.transaction = () => transaction.open();
    try {
      const response = codec.responseSerialize(
        await transaction.run(() => next(request, call)),
      ) as Buffer;
      if (isAtomic) await transaction.open();
      const { answer, commit } = end(asked, response);
      // Sealed before anything is written: what is too large is refused with nothing done.
      const seal =
        answer.successor === undefined ? undefined : calls.seal(opened.carrier, answer.successor);
      const box = answers.seal(answer);
      if (await transaction.finish((db) => commit(db, box))) {
        const whole = calls.isWhole(opened.carrier)
          ? response
          : codec.responseDeserialize(response);
        if (seal === undefined) call.reply.set(WAYBILL_KEY, "");
        else seal(call, whole);
        return whole;
      }
    } catch (error) {
      await transaction.abandon();
      if (saved !== undefined) return replay(call, opened, saved);
      // What the transaction has locked was not made before. Of the rest nobody knows.
      if (transaction.wasOpened || !(error instanceof StatusError)) throw error;
      saved = await madeBefore(opened, asked);
      if (saved === undefined) throw error;
      return replay(call, opened, saved);
    }
    // Another call was first: this one, made before, or a stranger to it.
    const row = await anchors.read(session.id);
    saved = await settle(row, session.envelope, asked, answers);
    if (saved === undefined) throw new Error(`session ${session.id} stands where it did not move`);
    return replay(call, opened, saved);
  };

  /** What the same call was answered, if it was made before. */
  const madeBefore = async (
    { session }: Opened<State>,
    asked: Asked,
  ): Promise<AnswerV1 | undefined> => {
    try {
      const row = await anchors.read(session.id);
      return await settle(row, session.envelope, asked, answers);
    } catch {
      return undefined;
    }
  };

  /** Of the session that its owner names in place of its waybill, where he may. */
  const namedCheckpoint = async (call: Call): Promise<Checkpoint | undefined> => {
    const name = method.idempotent ? singleValue(call.metadata, SESSION_KEY) : undefined;
    if (name === undefined || call.caller.token === undefined) return undefined;
    return checkpoint(name);
  };

  /** The newest version of a session. @throws StatusError SESSION_NOT_FOUND */
  const checkpoint = async (name: string): Promise<Checkpoint> => {
    if (!SESSION_NAME.test(name)) throw Errors.SESSION_NOT_FOUND();
    const sessionId = name.slice("sessions/".length);
    const row = await anchors.read(sessionId);
    const answer = row && (await answers.open(row.answer));
    const { successor } = answer ?? {};
    if (row === undefined || row.ended || answer === undefined || successor === undefined) {
      throw Errors.SESSION_NOT_FOUND();
    }
    if (!isOf(answer, row, uuidToBytes(sessionId))) {
      throw Errors.SESSION_NOT_FOUND({ cause: "what its anchor keeps is not its own" });
    }
    return { ...answer, successor };
  };

  const encodeRequest = (request: unknown): Buffer =>
    codec.requestSerialize(
      method.requestCarrier === undefined
        ? request
        : { ...(request as object), [method.requestCarrier]: undefined },
    );

  /** The next version of a session. */
  const toNext = (
    session: OpenSession<State>,
    asked: Asked,
    response: Buffer,
    successor: EnvelopeV1 | undefined,
  ): Ending => {
    const next = successor ?? sessions.successor(session, NOTHING);
    const answer = {
      ...asked,
      sessionId: next.sessionId,
      version: next.version,
      digest: next.digest,
      parentDigest: session.envelope.digest,
      response,
      successor,
    };
    const { version, digest } = session.envelope;
    const from = { sessionId: session.id, version, digest };
    const ended = successor === undefined;
    return {
      answer,
      commit: (db, box) => anchors.advance(from, { digest: next.digest, answer: box, ended }, db),
    };
  };

  /** The first version of a session. */
  const toFirst = (
    session: OpenSession<State>,
    successor: EnvelopeV1,
    response: Buffer,
  ): Ending => {
    const { sessionId, version, digest, parentDigest } = successor;
    const answer = {
      sessionId,
      version,
      digest,
      parentDigest,
      idempotencyDigest: NOTHING,
      requestDigest: NOTHING,
      response,
      successor,
    };
    return {
      answer,
      async commit(db, box) {
        await anchors.begin({ sessionId: session.id, digest, answer: box }, db);
        return true;
      },
    };
  };

  switch (method.step) {
    case Step.STEP_BEGIN:
      return async (request, call) => {
        const { session, carrier } = await calls.begin(request, call);
        const transaction = new HandlerTransaction(anchors.pool);
        call.transaction = () => transaction.open();
        try {
          const response = await transaction.run(() => next(request, call));
          const successor = sessions.successor(session, sessions.encode(session.state));
          const { answer, commit } = toFirst(session, successor, NOTHING);
          const seal = calls.seal(carrier, successor);
          const box = answers.seal(answer);
          await transaction.finish((db) => commit(db, box));
          seal(call, response);
          return response;
        } catch (error) {
          await transaction.abandon();
          throw error;
        }
      };
    case Step.STEP_ADVANCE:
      return async (request, call) => {
        const named = await namedCheckpoint(call);
        const opened = named
          ? calls.resume(named.successor, call)
          : await calls.open(request, call);
        const { session } = opened;
        if (
          named &&
          isMadeAgain(named, readAsked(method.path, call.metadata, encodeRequest(request)))
        )
          return replay(call, opened, named);
        return advance(request, call, opened, (asked, response) => {
          const state = sessions.encode(session.state);
          return toNext(session, asked, response, sessions.successor(session, state));
        });
      };
    case Step.STEP_END:
      return async (request, call) => {
        const opened = await calls.open(request, call);
        const { session } = opened;
        const response = await advance(request, call, opened, (asked, encoded) =>
          toNext(session, asked, encoded, undefined),
        );
        // Strangers could begin and end sessions without limit: the anchor alone remembers theirs.
        if (!isAnonymous(session.subject)) await calls.revoke(session, session.subject);
        return response;
      };
    case Step.STEP_BIND:
      return async (request, call) => {
        const opened = await calls.open(request, call);
        const old = opened.session;
        const session = calls.bind(old, call);
        const bind = (asked: Asked, encoded: Buffer): Ending => {
          const successor = sessions.successor(session, sessions.encode(session.state));
          const end = toNext(old, asked, encoded, undefined);
          const begin = toFirst(session, successor, NOTHING);
          return {
            answer: { ...end.answer, successor },
            async commit(db, box) {
              if (!(await end.commit(db, box))) return false;
              return begin.commit(db, answers.seal(begin.answer));
            },
          };
        };
        const response = await advance(request, call, opened, bind, true);
        await calls.revoke(old, session.subject);
        return response;
      };
    case Step.STEP_RESUME:
      return async (request, call) => {
        const name = String((request as Record<string, unknown>)[method.sessionName!]);
        const asked = readAsked(method.path, call.metadata, encodeRequest(request));
        const opened = calls.resume((await checkpoint(name)).successor, call);
        const { session, carrier } = opened;
        const response = codec.responseSerialize(await next(request, call));
        const successor = sessions.successor(session, sessions.encode(session.state));
        const { answer, commit } = toNext(session, asked, response, successor);
        const seal = calls.seal(carrier, successor);
        if (!(await commit(undefined, answers.seal(answer)))) {
          throw Errors.CONFLICT({ cause: "the session advanced meanwhile", retryAfterMs: 20 });
        }
        seal(call, response);
        return response;
      };
    default:
      throw new Error(`${method.path} writes no session`);
  }
}
