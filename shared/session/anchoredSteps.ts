import type { EnvelopeV1, SavedResponseV1 } from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import type { AnchorStore } from "../anchors/anchorStore.ts";
import type { CheckpointStore } from "../anchors/checkpoints.ts";
import type { RequestIdentity } from "../anchors/requestIdentity.ts";
import type { SavedResponses } from "../anchors/savedResponses.ts";
import { findReplay, isRetry, matchesRow } from "../anchors/settle.ts";
import type { MethodContract } from "../contract/contract.ts";
import { Errors, StatusError } from "../errors.ts";
import type { Db } from "../pg/pool.ts";
import { uuidToBytes } from "../runtime/uuid.ts";
import type { Call, Handler } from "../server/call.ts";
import { SESSION_KEY, WAYBILL_KEY } from "../waybill/carriers.ts";
import { singleValue } from "../waybill/metadata.ts";
import { isAnonymous } from "../waybill/owner.ts";
import type { OpenSession } from "../waybill/session.ts";
import { sessionIdOf } from "../waybill/sessionName.ts";
import type { Anchorage } from "./anchorage.ts";
import { type Ending, Endings } from "./endings.ts";
import { HandlerTransaction } from "./handlerTransaction.ts";
import { readRequestIdentity } from "./idempotency.ts";
import type { Opened, SessionCalls } from "./sessionCalls.ts";

/** How the messages of a method are encoded. */
export interface Codec {
  requestSerialize(request: unknown): Buffer;
  responseSerialize(response: unknown): Buffer;
  responseDeserialize(bytes: Buffer): unknown;
}

/** Works out what a call's success does to the anchors. */
type End = (
  asked: RequestIdentity,
  response: Buffer,
  transaction: HandlerTransaction,
) => Promise<Ending>;

/** The answer that made the newest version. */
type Checkpoint = SavedResponseV1 & { readonly successor: EnvelopeV1 };

/**
 * The steps of one method that write an anchored session. A call that was made before, with the same
 * waybill, key and request, is answered as it was then; of several at once one is made.
 */
export class AnchoredSteps<State> {
  readonly #method: MethodContract;
  readonly #codec: Codec;
  readonly #next: Handler;
  readonly #calls: SessionCalls<State>;
  readonly #anchors: AnchorStore;
  readonly #answers: SavedResponses;
  readonly #endings: Endings<State>;
  readonly #checkpoints: CheckpointStore;

  constructor(
    method: MethodContract,
    codec: Codec,
    next: Handler,
    calls: SessionCalls<State>,
    anchorage: Anchorage,
    checkpoints: CheckpointStore,
  ) {
    this.#checkpoints = checkpoints;
    this.#method = method;
    this.#codec = codec;
    this.#next = next;
    this.#calls = calls;
    this.#anchors = anchorage.anchors;
    this.#answers = anchorage.answers;
    this.#endings = new Endings(calls, anchorage);
  }

  /** The handler may choose that the session is carried, where the contract leaves it to him. */
  async begin(request: unknown, call: Call, opened: Opened<State>): Promise<unknown> {
    const { session, carrier } = opened;
    const transaction = new HandlerTransaction(this.#anchors, session.id);
    call.openTransaction = () => transaction.open();
    const isAnchored = session.anchored;
    if (isAnchored) await this.#endings.register(session);
    try {
      const response = await transaction.run(() => this.#next(request, call));
      if (session.anchored && !isAnchored) await this.#endings.register(session);
      const successor = await this.#endings.successor(opened, transaction);
      const seal = this.#calls.seal(carrier, successor);
      if (session.anchored) {
        const { answer, commit } = this.#endings.toFirst(session, successor);
        const box = this.#answers.seal(answer);
        await transaction.finish((db) => commit(db, box));
      } else {
        await transaction.finish(async () => {});
        await this.#checkpoints.saveIfDue(successor, call.wantsCheckpoint);
      }
      seal(call, response);
      return response;
    } catch (error) {
      await transaction.abandon();
      throw error;
    }
  }

  async advance(request: unknown, call: Call, opened: Opened<State>): Promise<unknown> {
    return this.#advanceTo(request, call, opened, async (asked, response, transaction) => {
      const successor = await this.#endings.successor(opened, transaction);
      return this.#endings.toNext(opened.session, asked, response, successor);
    });
  }

  /** Whether the caller names his session in place of its waybill, where he may. */
  isNamed({ headers, caller }: Call): boolean {
    return (
      this.#method.idempotent &&
      caller.token !== undefined &&
      singleValue(headers, SESSION_KEY) !== undefined
    );
  }

  /** Goes on from where the session that the caller names stands. */
  async advanceNamed(request: unknown, call: Call): Promise<unknown> {
    const id = sessionIdOf(singleValue(call.headers, SESSION_KEY)!);
    if (id === undefined) throw Errors.SESSION_NOT_FOUND();
    const newest = await this.#checkpoint(id);
    const opened = await this.#continueFrom(newest, call);
    const again = this.#isRetry(newest, this.#asked(request, call));
    return again ? this.#replay(call, opened, newest) : this.advance(request, call, opened);
  }

  async end(request: unknown, call: Call, opened: Opened<State>): Promise<unknown> {
    const { session } = opened;
    const response = await this.#advanceTo(request, call, opened, async (asked, encoded) =>
      this.#endings.toNext(session, asked, encoded, undefined),
    );
    // Strangers could begin and end sessions without limit: the anchor alone remembers theirs.
    if (!isAnonymous(session.subject)) await this.#tellEnd(session, session.subject);
    return response;
  }

  async bind(request: unknown, call: Call, opened: Opened<State>): Promise<unknown> {
    const old = opened.session;
    const session = this.#calls.bind(old, call);
    await this.#endings.register(session);
    const end: End = async (asked, encoded, transaction) => {
      const successor = await this.#endings.successor({ ...opened, session }, transaction);
      const last = this.#endings.toNext(old, asked, encoded, undefined);
      const first = this.#endings.toFirst(session, successor);
      return {
        answer: { ...last.answer, successor },
        // Without a transaction the new one may be left over, and expires: nobody has its waybill.
        commit: async (db, box) =>
          (await first.commit(db, this.#answers.seal(first.answer))) && last.commit(db, box),
      };
    };
    const isAtomic = this.#anchors.open !== undefined;
    const response = await this.#advanceTo(request, call, opened, end, isAtomic);
    await this.#tellEnd(old, session.subject);
    return response;
  }

  async resume(request: unknown, call: Call, id: string): Promise<unknown> {
    const asked = this.#asked(request, call);
    const newest = await this.#checkpoint(id);
    const opened = await this.#continueFrom(newest, call);
    if (this.#isRetry(newest, asked)) return this.#replay(call, opened, newest);
    const response = this.#codec.responseSerialize(await this.#next(request, call));
    const { session } = opened;
    const transaction = new HandlerTransaction(this.#anchors, id, async (db) => {
      await this.#anchors.lock(id, db);
    });
    try {
      const successor = await this.#endings.successor(opened, transaction);
      const { answer, commit } = this.#endings.toNext(session, asked, response, successor);
      const seal = this.#calls.seal(opened.carrier, successor);
      const box = this.#answers.seal(answer);
      await transaction.finish(async (db) => {
        if (await commit(db, box)) return;
        throw Errors.CONFLICT({ cause: "the session advanced meanwhile", retryAfterMs: 20 });
      });
      seal(call, response);
      return response;
    } catch (error) {
      await transaction.abandon();
      throw error;
    }
  }

  /**
   * Runs the handler of a call that goes on from a version of its session. Where the handler, or what
   * follows it, fails, the session is looked up first.
   *
   * @param end what its success does to the anchors
   * @param isAtomic whether that is more than one statement
   */
  async #advanceTo(
    request: unknown,
    call: Call,
    opened: Opened<State>,
    end: End,
    isAtomic = false,
  ): Promise<unknown> {
    const { id } = opened.session;
    const asked = this.#asked(request, call);
    let saved: SavedResponseV1 | undefined;
    const transaction = new HandlerTransaction(this.#anchors, id, async (db) => {
      saved = await this.#findReplay(opened.session, await this.#anchors.lock(id, db), asked, db);
      if (saved !== undefined) throw new Error("the call was made before");
    });
    call.openTransaction = () => transaction.open();
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
      const wasLocked = await transaction.abandon();
      // An old waybill gives the handler an old state. Its error stands only if the session is known to
      // have stood at that state: otherwise the error of the look-up replaces it, also UNAVAILABLE.
      if (saved === undefined && !wasLocked) saved = await this.#find(opened.session, asked);
      if (saved === undefined) throw error;
      return this.#replay(call, opened, saved);
    }
    // Another call was first: this one, made before, or a stranger to it.
    saved = await this.#find(opened.session, asked);
    if (saved === undefined) throw new Error(`session ${id} did not move from where it stands`);
    return this.#replay(call, opened, saved);
  }

  /** What a call was answered, if it was made before. @throws StatusError as `settle` */
  async #find(
    session: OpenSession<State>,
    asked: RequestIdentity,
  ): Promise<SavedResponseV1 | undefined> {
    return this.#findReplay(session, await this.#anchors.read(session.id), asked);
  }

  #findReplay(
    { id: sessionId, envelope }: OpenSession<State>,
    row: Parameters<typeof findReplay>[0],
    asked: RequestIdentity,
    db?: Db,
  ): Promise<SavedResponseV1 | undefined> {
    const { version, digest } = envelope;
    return findReplay(row, envelope, asked, this.#answers, () =>
      this.#anchors.wasServed({ sessionId, version, digest }, asked, db),
    );
  }

  #replay(call: Call, opened: Opened<State>, answer: SavedResponseV1): unknown {
    return this.#delivery(opened, answer)(call);
  }

  /**
   * Readies an answer for the way that the call's waybill came.
   *
   * @throws StatusError WAYBILL_TOO_LARGE, KEYS_UNAVAILABLE
   */
  #delivery(
    { carrier }: Opened<State>,
    { response, successor }: SavedResponseV1,
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

  /**
   * The session of a checkpoint. Reading has kept it alive, perhaps, of which its anchor knows nothing: so
   * it has not idled out.
   */
  #continueFrom({ successor }: Checkpoint, call: Call): Promise<Opened<State>> {
    return this.#calls.resume({ ...successor, idleExpiresAt: successor.expiresAt }, call);
  }

  /** Without a key, two devices that ask for the same cannot be told apart: each gets a version. */
  #isRetry(newest: Checkpoint, asked: RequestIdentity): boolean {
    const hasKey = !asked.idempotencyDigest.equals(asked.requestDigest);
    return hasKey && isRetry(newest, asked);
  }

  /** @throws StatusError SESSION_NOT_FOUND */
  async #checkpoint(sessionId: string): Promise<Checkpoint> {
    const row = await this.#anchors.read(sessionId);
    const answer = row && (await this.#answers.open(row.answer));
    const { successor } = answer ?? {};
    if (row === undefined || row.ended || answer === undefined || successor === undefined) {
      throw Errors.SESSION_NOT_FOUND();
    }
    if (!matchesRow(answer, row, uuidToBytes(sessionId))) {
      throw Errors.SESSION_NOT_FOUND({
        alarm: true,
        cause: "what its anchor keeps is not its own",
      });
    }
    return { ...answer, successor };
  }

  #asked(request: unknown, call: Call): RequestIdentity {
    const { requestCarrier } = this.#method;
    const bare =
      requestCarrier === undefined
        ? request
        : { ...(request as object), [requestCarrier]: undefined };
    return readRequestIdentity(call, this.#codec.requestSerialize(bare));
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
}
