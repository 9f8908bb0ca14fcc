import type { AnswerV1, EnvelopeV1 } from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import type { Anchors } from "../anchors/anchors.ts";
import type { Answers } from "../anchors/answers.ts";
import type { Asked } from "../anchors/asked.ts";
import type { Directory } from "../anchors/directory.ts";
import { isMadeAgain, isOf, settle } from "../anchors/settle.ts";
import { Errors, StatusError } from "../errors/errors.ts";
import type { Db } from "../pg/pool.ts";
import { SESSION_KEY, WAYBILL_KEY } from "../waybill/carriers.ts";
import { isAnonymous } from "../waybill/owner.ts";
import type { OpenSession, Sessions } from "../waybill/sessions.ts";
import { singleValue } from "../waybill/singleValue.ts";
import { uuidToBytes } from "../waybill/uuid.ts";
import type { Call, Handler } from "./call.ts";
import type { MethodContract } from "./contract.ts";
import { HandlerTransaction } from "./handlerTransaction.ts";
import { readAsked } from "./idempotency.ts";
import type { Opened, SessionCalls } from "./sessionCalls.ts";

/** Where the sessions of a service are anchored. */
export interface Anchorage {
  readonly anchors: Anchors;
  readonly answers: Answers;
  /** Where an owner's sessions are listed. Default: nowhere. */
  readonly directory?: Directory | undefined;
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
  /** Does it; false when another call was first. @param box the answer, sealed */
  commit(db: Db | undefined, box: Buffer): Promise<boolean>;
}

/** Works out what a call's success does to the anchors. */
type End = (asked: Asked, response: Buffer, transaction: HandlerTransaction) => Promise<Ending>;

/** The answer that made the newest version. */
type Checkpoint = AnswerV1 & { readonly successor: EnvelopeV1 };

const SESSION_NAME = /^sessions\/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const NOTHING = Buffer.alloc(0);

/**
 * The steps of one method that write an anchored session. A call that was made before, with the same
 * waybill, key and request, is answered as it was then; of several at once one is made.
 */
export class AnchoredSteps<State> {
  readonly #method: MethodContract;
  readonly #codec: Codec;
  readonly #next: Handler;
  readonly #calls: SessionCalls<State>;
  readonly #sessions: Sessions<State>;
  readonly #anchors: Anchors;
  readonly #answers: Answers;
  readonly #directory: Directory | undefined;

  constructor(
    method: MethodContract,
    codec: Codec,
    next: Handler,
    calls: SessionCalls<State>,
    { anchors, answers, directory }: Anchorage,
  ) {
    this.#method = method;
    this.#codec = codec;
    this.#next = next;
    this.#calls = calls;
    this.#sessions = calls.sessions;
    this.#anchors = anchors;
    this.#answers = answers;
    this.#directory = directory;
  }

  /** The handler may choose that the session is carried, where the contract leaves it to him. */
  async begin(request: unknown, call: Call, opened: Opened<State>): Promise<unknown> {
    const { session, carrier } = opened;
    const transaction = new HandlerTransaction(this.#anchors.pool);
    call.transaction = () => transaction.open();
    const isAnchored = session.anchored;
    if (isAnchored) await this.#register(session);
    try {
      const response = await transaction.run(() => this.#next(request, call));
      if (session.anchored && !isAnchored) await this.#register(session);
      const successor = await this.#successor(opened, transaction);
      const seal = this.#calls.seal(carrier, successor);
      if (session.anchored) {
        const { answer, commit } = this.#toFirst(session, successor);
        const box = this.#answers.seal(answer);
        await transaction.finish((db) => commit(db, box));
      } else await transaction.finish(async () => {});
      seal(call, response);
      return response;
    } catch (error) {
      await transaction.abandon();
      throw error;
    }
  }

  async advance(request: unknown, call: Call, opened: Opened<State>): Promise<unknown> {
    return this.#goOn(request, call, opened, async (asked, response, transaction) => {
      const successor = await this.#successor(opened, transaction);
      return this.#toNext(opened.session, asked, response, successor);
    });
  }

  /** Whether the caller names his session in place of its waybill, where he may. */
  isNamed({ metadata, caller }: Call): boolean {
    return (
      this.#method.idempotent &&
      caller.token !== undefined &&
      singleValue(metadata, SESSION_KEY) !== undefined
    );
  }

  /** Goes on from where the session that the caller names stands. */
  async advanceNamed(request: unknown, call: Call): Promise<unknown> {
    const newest = await this.#checkpoint(singleValue(call.metadata, SESSION_KEY)!);
    const opened = await this.#calls.resume(newest.successor, call);
    if (isMadeAgain(newest, this.#asked(request, call))) return this.#replay(call, opened, newest);
    return this.advance(request, call, opened);
  }

  async end(request: unknown, call: Call, opened: Opened<State>): Promise<unknown> {
    const { session } = opened;
    const response = await this.#goOn(request, call, opened, async (asked, encoded) =>
      this.#toNext(session, asked, encoded, undefined),
    );
    // Strangers could begin and end sessions without limit: the anchor alone remembers theirs.
    if (!isAnonymous(session.subject)) await this.#tellEnd(session, session.subject);
    return response;
  }

  async bind(request: unknown, call: Call, opened: Opened<State>): Promise<unknown> {
    const old = opened.session;
    const session = this.#calls.bind(old, call);
    await this.#register(session);
    const end: End = async (asked, encoded, transaction) => {
      const successor = await this.#successor({ ...opened, session }, transaction);
      const last = this.#toNext(old, asked, encoded, undefined);
      const first = this.#toFirst(session, successor);
      return {
        answer: { ...last.answer, successor },
        commit: async (db, box) =>
          (await last.commit(db, box)) && first.commit(db, this.#answers.seal(first.answer)),
      };
    };
    const response = await this.#goOn(request, call, opened, end, true);
    await this.#tellEnd(old, session.subject);
    return response;
  }

  async resume(request: unknown, call: Call): Promise<unknown> {
    const name = String((request as Record<string, unknown>)[this.#method.sessionName!]);
    const asked = this.#asked(request, call);
    const newest = await this.#checkpoint(name);
    const opened = await this.#calls.resume(newest.successor, call);
    // Without a key, two devices that ask for the same cannot be told apart: each gets a version.
    const hasKey = !asked.idempotencyDigest.equals(asked.requestDigest);
    if (hasKey && isMadeAgain(newest, asked)) return this.#replay(call, opened, newest);
    const response = this.#codec.responseSerialize(await this.#next(request, call));
    const { session } = opened;
    const successor = await this.#successor(opened);
    const { answer, commit } = this.#toNext(session, asked, response, successor);
    const seal = this.#calls.seal(opened.carrier, successor);
    if (!(await commit(undefined, this.#answers.seal(answer)))) {
      throw Errors.CONFLICT({ cause: "the session advanced meanwhile", retryAfterMs: 20 });
    }
    seal(call, response);
    return response;
  }

  /**
   * Runs the handler of a call that goes on from a version of its session.
   *
   * @param end what its success does to the anchors
   * @param isAtomic whether that is more than one statement
   */
  async #goOn(
    request: unknown,
    call: Call,
    opened: Opened<State>,
    end: End,
    isAtomic = false,
  ): Promise<unknown> {
    const { id } = opened.session;
    const asked = this.#asked(request, call);
    let saved: AnswerV1 | undefined;
    const transaction = new HandlerTransaction(this.#anchors.pool, async (db) => {
      saved = await this.#settle(opened.session, await this.#anchors.lock(id, db), asked, db);
      if (saved !== undefined) throw new Error("the call was made before");
    });
    call.transaction = () => transaction.open();
    try {
      const response = this.#codec.responseSerialize(
        await transaction.run(() => this.#next(request, call)),
      );
      if (isAtomic) await transaction.open();
      const { answer, commit } = await end(asked, response, transaction);
      // Sealed before anything is written: what is too large is refused with nothing done.
      const deliver = this.#delivery(opened, answer);
      const box = this.#answers.seal(answer);
      const moved = await transaction.finish(async (db) => {
        const isFirst = await commit(db, box);
        // Locked, and yet elsewhere: the handler's rows must not be committed without the step.
        if (!isFirst && db !== undefined)
          throw new Error(`session ${id} moved while it was locked`);
        return isFirst;
      });
      if (moved) return deliver(call);
    } catch (error) {
      await transaction.abandon();
      // What the transaction has locked was not made before. Of the rest nobody knows.
      if (error instanceof StatusError && !transaction.wasOpened) {
        saved = await this.#find(opened.session, asked).catch(() => undefined);
      }
      if (saved === undefined) throw error;
      return this.#replay(call, opened, saved);
    }
    // Another call was first: this one, made before, or a stranger to it.
    saved = await this.#find(opened.session, asked);
    if (saved === undefined) throw new Error(`session ${id} did not move from where it stands`);
    return this.#replay(call, opened, saved);
  }

  /** What a call was answered, if it was made before. @throws StatusError as `settle` */
  async #find(session: OpenSession<State>, asked: Asked): Promise<AnswerV1 | undefined> {
    return this.#settle(session, await this.#anchors.read(session.id), asked);
  }

  #settle(
    { id: sessionId, envelope }: OpenSession<State>,
    row: Parameters<typeof settle>[0],
    asked: Asked,
    db?: Db,
  ): Promise<AnswerV1 | undefined> {
    const { version, digest } = envelope;
    return settle(row, envelope, asked, this.#answers, () =>
      this.#anchors.wasServed({ sessionId, version, digest }, asked, db),
    );
  }

  #replay(call: Call, opened: Opened<State>, answer: AnswerV1): unknown {
    return this.#delivery(opened, answer)(call);
  }

  /**
   * Readies an answer for the way that the call's waybill came.
   *
   * @throws StatusError WAYBILL_TOO_LARGE, KEYS_UNAVAILABLE
   */
  #delivery(
    { carrier }: Opened<State>,
    { response, successor }: AnswerV1,
  ): (call: Call) => unknown {
    const seal = successor && this.#calls.seal(carrier, successor);
    return (call) => {
      // Encoded already, but for a waybill in the message.
      const whole = this.#calls.isWhole(carrier)
        ? response
        : this.#codec.responseDeserialize(response);
      if (seal === undefined) call.reply.set(WAYBILL_KEY, "");
      else seal(call, whole);
      return whole;
    };
  }

  /** @throws StatusError SESSION_NOT_FOUND */
  async #checkpoint(name: string): Promise<Checkpoint> {
    if (!SESSION_NAME.test(name)) throw Errors.SESSION_NOT_FOUND();
    const sessionId = name.slice("sessions/".length);
    const row = await this.#anchors.read(sessionId);
    const answer = row && (await this.#answers.open(row.answer));
    const { successor } = answer ?? {};
    if (row === undefined || row.ended || answer === undefined || successor === undefined) {
      throw Errors.SESSION_NOT_FOUND();
    }
    if (!isOf(answer, row, uuidToBytes(sessionId))) {
      throw Errors.SESSION_NOT_FOUND({
        alarm: true,
        cause: "what its anchor keeps is not its own",
      });
    }
    return { ...answer, successor };
  }

  #asked(request: unknown, call: Call): Asked {
    const { path, requestCarrier } = this.#method;
    const bare =
      requestCarrier === undefined
        ? request
        : { ...(request as object), [requestCarrier]: undefined };
    return readAsked(path, call.metadata, this.#codec.requestSerialize(bare));
  }

  /** The envelope of a session's next version, with its state kept elsewhere where it is too large. */
  async #successor(opened: Opened<State>, transaction?: HandlerTransaction): Promise<EnvelopeV1> {
    const { session } = opened;
    const successor = this.#sessions.successor(
      session,
      this.#sessions.encode(session.state, session.unknown),
    );
    const tx = transaction?.wasOpened ? await transaction.open() : undefined;
    return this.#calls.fit(opened, successor, tx);
  }

  /** A session's step to its next version; to its last one without a successor. */
  #toNext(
    session: OpenSession<State>,
    asked: Asked,
    response: Buffer,
    successor: EnvelopeV1 | undefined,
  ): Ending {
    const { version, digest: parentDigest } = session.envelope;
    const next = successor ?? this.#sessions.last(session);
    const { sessionId, digest } = next;
    return {
      answer: {
        ...asked,
        sessionId,
        version: next.version,
        digest,
        parentDigest,
        response,
        successor,
      },
      commit: (db, answer) => {
        const from = { sessionId: session.id, version, digest: parentDigest };
        const ended = successor === undefined;
        return this.#anchors.advance(from, { digest, asked, answer, ended }, db);
      },
    };
  }

  /** A session's first version. */
  #toFirst(session: OpenSession<State>, successor: EnvelopeV1): Ending {
    const { sessionId, version, digest, parentDigest } = successor;
    const asked = { idempotencyDigest: NOTHING, requestDigest: NOTHING };
    return {
      answer: { ...asked, sessionId, version, digest, parentDigest, response: NOTHING, successor },
      commit: async (db, answer) => {
        await this.#anchors.begin({ sessionId: session.id, digest, answer }, db);
        return true;
      },
    };
  }

  /**
   * Has a session that has ended refused for reading, too. What writes is refused by the anchor already:
   * an owner of whom the feed remembers no more has ended his session all the same.
   */
  async #tellEnd(session: OpenSession<State>, owner: string): Promise<void> {
    try {
      await this.#calls.revoke(session, owner);
    } catch (error) {
      const isFull = error instanceof StatusError && error.reason === "TOO_MANY_SESSIONS_ENDED";
      if (!isFull) throw error;
    }
  }

  /** Of nobody's sessions nobody asks for a list. */
  async #register(session: OpenSession<State>): Promise<void> {
    if (!isAnonymous(session.subject)) await this.#directory?.register(session);
  }
}
