import {
  type EnvelopeV1,
  Part,
  type SavedResponseV1,
} from "../../../proto/gen/waybill/envelope/v1/envelope.ts";
import type { CheckpointStore } from "../../anchors/checkpoints.ts";
import type { MethodContract } from "../../contract/contract.ts";
import type { Call, Handler } from "../../server/call.ts";
import type { OpenSession } from "../../waybill/session.ts";
import type { Anchorage } from "../anchorage.ts";
import type { Codec } from "../anchoredSteps.ts";
import { readRequestIdentity } from "../idempotency.ts";
import type { Delivery, SessionCalls } from "../sessionCalls.ts";
import { AnchoredWay } from "./anchoredStream.ts";

/** What the calls of one method have in common. */
export interface StreamedMethod<State> {
  readonly method: MethodContract;
  readonly codec: Codec;
  readonly next: Handler;
  readonly calls: SessionCalls<State>;
  readonly anchorage: Anchorage | undefined;
  readonly checkpoints: CheckpointStore;
}

const NOTHING = Buffer.alloc(0);

/**
 * One call that streams, and its session's way through it: from version to version, where the handler
 * says so and at the end. What of an anchored session's way the caller has missed, because an earlier
 * call like this one broke, he gets first.
 */
export class StreamedCall<State> {
  readonly #call: Call;
  readonly #on: StreamedMethod<State>;
  readonly #anchored: AnchoredWay<State> | undefined;
  #session: OpenSession<State>;
  /** The newest version's waybill has found no way to the caller yet. */
  #isOwed = false;
  /** The handler has sent something: a message, or a waybill before the first. */
  #hasSpoken = false;

  /** @param request undefined: there are many */
  constructor(
    call: Call,
    session: OpenSession<State>,
    on: StreamedMethod<State>,
    request: unknown,
  ) {
    this.#call = call;
    this.#session = session;
    this.#on = on;
    const { anchorage, calls, method, codec } = on;
    // A carried session offers no transaction: nothing would keep what it does from being done twice.
    const mayBeAnchored = session.anchored || session.version === 0;
    if (anchorage === undefined || !mayBeAnchored) return;
    const { requestCarrier } = method;
    const bare =
      requestCarrier === undefined
        ? request
        : { ...(request as object), [requestCarrier]: undefined };
    const encoded = bare === undefined ? undefined : codec.requestSerialize(bare);
    const asked = readRequestIdentity(call, encoded);
    this.#anchored = new AnchoredWay(calls, anchorage, asked, () => this.#session);
    call.openTransaction = () => this.#anchored!.transaction.open();
  }

  /** The answer of a stream of responses. */
  async *messages(request: unknown): AsyncGenerator<unknown> {
    for await (const answer of this.#missed()) {
      const message = await this.#redeliver(answer, "trailers");
      if (message !== undefined) yield message;
      if (answer.part === Part.PART_END) return;
    }
    await this.#begin();
    try {
      yield* this.#handle(request);
      await this.#believing(() => this.#end("trailers", NOTHING));
    } finally {
      await this.#anchored?.transaction.abandon();
    }
  }

  /** The answer of a stream of requests alone; encoded. */
  async response(requests: unknown): Promise<Buffer> {
    const { codec, next } = this.#on;
    const place = () => (this.#call.hasReplied ? "trailers" : "reply");
    for await (const answer of this.#missed()) {
      await this.#redeliver(answer, place());
      if (answer.part === Part.PART_END) return answer.response;
    }
    await this.#begin();
    try {
      const response = await this.#within(() => next(requests, this.#call));
      const encoded = codec.responseSerialize(response);
      await this.#believing(() => this.#end(place(), encoded));
      return encoded;
    } finally {
      await this.#anchored?.transaction.abandon();
    }
  }

  async *#missed(): AsyncGenerator<SavedResponseV1> {
    if (this.#anchored === undefined || !this.#session.anchored) return;
    if (this.#session.version === 0) return;
    yield* this.#anchored.missed();
    await this.#anchored.assertStands();
  }

  /** @returns the message that it was answered with, if any */
  async #redeliver(
    { part, successor, response }: SavedResponseV1,
    last: "reply" | "trailers",
  ): Promise<unknown> {
    const { calls, codec } = this.#on;
    this.#session = await calls.reopen(successor!, this.#call);
    this.#isOwed = false;
    if (part === Part.PART_MESSAGE) {
      const message = codec.responseDeserialize(response);
      calls.sealForMessage(successor!)(this.#call, message);
      return message;
    }
    if (part === Part.PART_END) calls.sealFor(last, successor!)(this.#call, undefined);
    else if (this.#call.hasReplied) this.#isOwed = true;
    else {
      calls.sealFor("reply", successor!)(this.#call, undefined);
      this.#call.sendReply();
    }
    return undefined;
  }

  /** Readies what the handler may ask for. */
  async #begin(): Promise<void> {
    await this.#anchored?.register();
    this.#call.advanceStream = async <Message>(message?: Message) => {
      if (message === undefined) await this.#advanceAtStart();
      else await this.#advanceWith(message);
      return message as Message;
    };
  }

  async #advanceAtStart(): Promise<void> {
    const { method, calls } = this.#on;
    if (this.#hasSpoken) {
      throw new Error(`${method.path} has sent its first message: advance with the next one`);
    }
    this.#hasSpoken = true;
    // What an earlier call was answered may have gone out already: then it comes with what is next.
    const isLate = this.#call.hasReplied;
    await this.#advance(Part.PART_START, NOTHING, (next) => calls.sealFor("reply", next));
    this.#isOwed = isLate;
    this.#call.sendReply();
  }

  async #advanceWith(message: unknown): Promise<void> {
    const { method, calls, codec } = this.#on;
    if (method.kind === "client_streaming" || method.responseCarrier === undefined) {
      throw new Error(`${method.path} advances with a message that has no carrier field`);
    }
    const encoded = codec.responseSerialize(message);
    const seal = (next: EnvelopeV1) => calls.sealForMessage(next);
    await this.#advance(Part.PART_MESSAGE, encoded, seal, message);
  }

  /** Runs the handler of a stream of responses. */
  async *#handle(request: unknown): AsyncGenerator<unknown> {
    const { method, next, calls } = this.#on;
    const messages = await this.#believing(
      async () => (await next(request, this.#call)) as AsyncIterable<unknown>,
    );
    const iterator = messages[Symbol.asyncIterator]();
    let isOver = false;
    try {
      for (;;) {
        const { done, value } = await this.#within(() => iterator.next());
        isOver = done === true;
        if (isOver) return;
        if (this.#anchored?.transaction.wasOpened) {
          throw new Error(`${method.path} has a transaction open: advance with the message`);
        }
        calls.assertLives(this.#session, this.#call);
        this.#hasSpoken = true;
        yield value;
      }
    } finally {
      if (!isOver) await iterator.return?.();
    }
  }

  /** Runs a part of the handler in the session's transaction, where there is one. */
  #within<T>(work: () => Promise<T>): Promise<T> {
    const anchored = this.#anchored;
    if (anchored === undefined) return work();
    return this.#believing(() => anchored.transaction.run(work));
  }

  /**
   * Runs what may refuse the call out of its state. A stream may be open for long: its error is passed on
   * only when the session has not advanced elsewhere meanwhile.
   */
  async #believing<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      await this.#anchored?.assertStillStands();
      throw error;
    }
  }

  /** Takes the session to its last version of this call, if there is anything to say. */
  async #end(place: "reply" | "trailers", response: Buffer): Promise<void> {
    const { calls } = this.#on;
    const session = this.#session;
    const hasChanged =
      session.version === 0 ||
      this.#anchored?.transaction.wasOpened ||
      !session.encoded.equals(calls.sessions.encode(session.state, session.unknown));
    if (hasChanged) {
      await this.#advance(Part.PART_END, response, (next) => calls.sealFor(place, next));
    } else if (this.#isOwed) {
      calls.sealFor(place, session.envelope)(this.#call, undefined);
    } else if (calls.sessions.isAging(session)) {
      calls.sealFor(place, calls.sessions.renewed(session))(this.#call, undefined);
    }
    if (this.#call.wantsCheckpoint && !this.#session.anchored) {
      await this.#on.checkpoints.saveIfDue(this.#session.envelope, true);
    }
  }

  /** Makes the state the session's next version, and hands its waybill out. */
  async #advance(
    part: Part,
    response: Buffer,
    seal: (next: EnvelopeV1) => Delivery,
    message?: unknown,
  ): Promise<void> {
    const { calls } = this.#on;
    const session = this.#session;
    calls.assertLives(session, this.#call);
    await this.#anchored?.register();
    const transaction = this.#anchored?.transaction;
    const isHandlers = transaction?.wasOpened;
    let next: EnvelopeV1;
    let deliver: Delivery;
    try {
      const state = calls.sessions.encode(session.state, session.unknown);
      const successor = calls.sessions.successor(session, state);
      const opened = { session, carrier: "metadata" as const };
      next = await calls.fit(opened, successor, transaction?.opener);
      // Whatever brings it, the next call brings it in the metadata.
      calls.assertFitsMetadata(next);
      // Sealed before anything is written: what is too large is refused with nothing done.
      deliver = seal(next);
      await this.#anchored?.advance(part, response, next);
    } catch (error) {
      // The handler may go on with another state; of a transaction for this one he knows nothing.
      if (!isHandlers) await transaction?.abandon();
      throw error;
    }
    if (!session.anchored) await this.#on.checkpoints.saveIfDue(next, false);
    calls.sessions.advanceTo(session, next);
    deliver(this.#call, message);
    this.#isOwed = false;
  }
}
