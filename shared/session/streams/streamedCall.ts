import {
  type EnvelopeV1,
  Part,
  type SavedResponseV1,
} from "../../../proto/gen/waybill/envelope/v1/envelope.ts";
import type { OpenSession } from "../../waybill/session.ts";
import { type AnchoredMethod, encodeBare } from "../anchored.ts";
import { AnchoredCall } from "../anchoredCall.ts";
import type { SessionCall } from "../call.ts";
import { readRequestIdentity } from "../idempotency.ts";
import type { Delivery } from "../methodSessions.ts";
import type { Anchorage } from "../options.ts";

/** A streaming method, with the dependencies of its calls. */
export type StreamedMethod<State> = Omit<AnchoredMethod<State>, "anchorage"> & {
  readonly anchorage: Anchorage | undefined;
};

const EMPTY = Buffer.alloc(0);

/**
 * One streaming call that advances a session: each time the handler asks for it, and at the end. A client
 * whose earlier call with the same key broke first receives the saved responses that it has missed.
 */
export class StreamedCall<State> {
  readonly #call: SessionCall;
  readonly #on: StreamedMethod<State>;
  readonly #anchored: AnchoredCall<State> | undefined;
  #session: OpenSession<State>;
  /** True while the newest version's waybill has not been sent. */
  #isOwed = false;
  /** True once the handler has sent a message, or a waybill before the first message. */
  #hasSpoken = false;

  /** @param request undefined: the client streams requests, which are not part of the call's identity */
  constructor(
    call: SessionCall,
    session: OpenSession<State>,
    on: StreamedMethod<State>,
    request: unknown,
  ) {
    this.#call = call;
    this.#session = session;
    this.#on = on;
    const { anchorage, sessions } = on;
    // Carried sessions get no transaction: nothing would keep its writes from being done twice.
    const mayBeAnchored = session.anchored || session.version === 0;
    if (anchorage === undefined || !mayBeAnchored) return;
    const encoded = request === undefined ? undefined : encodeBare(request, on);
    const identity = readRequestIdentity(call, encoded);
    const anchored = new AnchoredCall(sessions, anchorage, session, identity);
    this.#anchored = anchored;
    call.openTransaction = () => anchored.transaction.open();
  }

  /** Serves a stream of responses. */
  async *messages(request: unknown): AsyncGenerator<unknown> {
    for await (const saved of this.#missed()) {
      const message = await this.#redeliver(saved, "trailers");
      if (message !== undefined) yield message;
      if (saved.part === Part.PART_END) return;
    }
    await this.#begin();
    try {
      yield* this.#handle(request);
      await this.#checkingState(() => this.#end("trailers", EMPTY));
    } finally {
      await this.#anchored?.transaction.abandon();
    }
  }

  /** Serves a stream of requests with one response, which is returned encoded. */
  async response(requests: unknown): Promise<Buffer> {
    const { codec, next } = this.#on;
    const place = () => (this.#call.hasReplied ? "trailers" : "reply");
    for await (const saved of this.#missed()) {
      await this.#redeliver(saved, place());
      if (saved.part === Part.PART_END) return saved.response;
    }
    await this.#begin();
    try {
      const response = await this.#inTransaction(() => next(requests, this.#call));
      const encoded = codec.responseSerialize(response);
      await this.#checkingState(() => this.#end(place(), encoded));
      return encoded;
    } finally {
      await this.#anchored?.transaction.abandon();
    }
  }

  async *#missed(): AsyncGenerator<SavedResponseV1> {
    if (this.#anchored === undefined || !this.#session.anchored) return;
    if (this.#session.version === 0) return;
    yield* this.#anchored.missed();
    await this.#anchored.assertCurrent();
  }

  /** @returns the saved response's message, if it has one */
  async #redeliver(
    { part, successor, response }: SavedResponseV1,
    last: "reply" | "trailers",
  ): Promise<unknown> {
    const { sessions, codec } = this.#on;
    this.#moveTo(await sessions.reopen(successor!, this.#call));
    this.#isOwed = false;
    if (part === Part.PART_MESSAGE) {
      const message = codec.responseDeserialize(response);
      sessions.sealForMessage(successor!)(this.#call, message);
      return message;
    }
    if (part === Part.PART_END) sessions.sealFor(last, successor!)(this.#call, undefined);
    else if (this.#call.hasReplied) this.#isOwed = true;
    else {
      sessions.sealFor("reply", successor!)(this.#call, undefined);
      this.#call.sendReply();
    }
    return undefined;
  }

  /** Enables `context.advance` for the handler. */
  async #begin(): Promise<void> {
    await this.#anchored?.register();
    this.#call.advanceStream = async <Message>(message?: Message) => {
      if (message === undefined) await this.#advanceAtStart();
      else await this.#advanceWith(message);
      return message as Message;
    };
  }

  async #advanceAtStart(): Promise<void> {
    const { method, sessions } = this.#on;
    if (this.#hasSpoken) {
      throw new Error(`${method.path} has sent its first message: advance with the next one`);
    }
    this.#hasSpoken = true;
    // A redelivered response may have sent the metadata already: the waybill then leaves with the next one.
    const isLate = this.#call.hasReplied;
    await this.#advance(Part.PART_START, EMPTY, (next) => sessions.sealFor("reply", next));
    this.#isOwed = isLate;
    this.#call.sendReply();
  }

  async #advanceWith(message: unknown): Promise<void> {
    const { method, sessions, codec } = this.#on;
    if (method.kind === "client_streaming" || method.responseCarrier === undefined) {
      throw new Error(`${method.path} advances with a message that has no carrier field`);
    }
    const encoded = codec.responseSerialize(message);
    const seal = (next: EnvelopeV1) => sessions.sealForMessage(next);
    await this.#advance(Part.PART_MESSAGE, encoded, seal, message);
  }

  /** Runs the handler of a stream of responses. */
  async *#handle(request: unknown): AsyncGenerator<unknown> {
    const { method, next, sessions } = this.#on;
    const messages = await this.#checkingState(
      async () => (await next(request, this.#call)) as AsyncIterable<unknown>,
    );
    const iterator = messages[Symbol.asyncIterator]();
    let isOver = false;
    try {
      for (;;) {
        const { done, value } = await this.#inTransaction(() => iterator.next());
        isOver = done === true;
        if (isOver) return;
        if (this.#anchored?.transaction.wasOpened) {
          throw new Error(`${method.path} has a transaction open: advance with the message`);
        }
        sessions.assertLives(this.#session, this.#call);
        this.#hasSpoken = true;
        yield value;
      }
    } finally {
      if (!isOver) await iterator.return?.();
    }
  }

  /** Runs a part of the handler in the session's transaction, if it has one. */
  #inTransaction<T>(work: () => Promise<T>): Promise<T> {
    const anchored = this.#anchored;
    if (anchored === undefined) return work();
    return this.#checkingState(() => anchored.transaction.run(work));
  }

  /**
   * Runs a part of the call whose error depends on the state. A stream may be open for long: when the
   * session has advanced elsewhere meanwhile, the error that says so takes the place of the handler's.
   */
  async #checkingState<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      const wasLocked = await this.#anchored?.transaction.abandon();
      const { anchored, version } = this.#session;
      if (anchored && version > 0 && !wasLocked) await this.#anchored?.assertCurrent();
      throw error;
    }
  }

  /** Makes the last version of this call, if the handler has changed anything. */
  async #end(place: "reply" | "trailers", response: Buffer): Promise<void> {
    const { sessions: own, checkpoints } = this.#on;
    const session = this.#session;
    const hasChanged =
      session.version === 0 ||
      this.#anchored?.transaction.wasOpened ||
      !session.encoded.equals(own.encode(session));
    if (hasChanged) {
      await this.#advance(Part.PART_END, response, (next) => own.sealFor(place, next));
    } else if (this.#isOwed) {
      own.sealFor(place, session.envelope)(this.#call, undefined);
    } else if (own.sessions.isAging(session)) {
      own.sealFor(place, own.sessions.renewed(session))(this.#call, undefined);
    }
    if (this.#call.wantsCheckpoint && !this.#session.anchored) {
      await checkpoints.saveIfDue(this.#session.envelope, true);
    }
  }

  /** Commits the state as the session's next version, and sends its waybill. */
  async #advance(
    part: Part,
    response: Buffer,
    seal: (next: EnvelopeV1) => Delivery,
    message?: unknown,
  ): Promise<void> {
    const { sessions: own, checkpoints } = this.#on;
    const session = this.#session;
    own.assertLives(session, this.#call);
    await this.#anchored?.register();
    const transaction = this.#anchored?.transaction;
    const isHandlers = transaction?.wasOpened;
    let next: EnvelopeV1;
    let deliver: Delivery;
    try {
      const successor = own.sessions.successor(session, own.encode(session));
      const opened = { session, carrier: "metadata" as const };
      next = await own.fit(opened, successor, transaction?.opener);
      // In whichever way it leaves, the next request brings it in the metadata.
      own.assertFitsMetadata(next);
      // Sealed before anything is written: a waybill that is too large is refused with nothing done.
      deliver = seal(next);
      await this.#commit(next, response, part);
    } catch (error) {
      // The handler may continue with another state; it did not open this transaction itself.
      if (!isHandlers) await transaction?.abandon();
      throw error;
    }
    if (!session.anchored) await checkpoints.saveIfDue(next, false);
    own.sessions.advanceTo(session, next);
    deliver(this.#call, message);
    this.#isOwed = false;
  }

  async #commit(next: EnvelopeV1, response: Buffer, part: Part): Promise<void> {
    const anchored = this.#anchored;
    if (anchored === undefined) return;
    const writes = this.#session.anchored ? [anchored.next(response, next, part)] : [];
    if (await anchored.commit(...writes)) return;
    await anchored.assertCurrent();
    throw new Error(`session ${this.#session.id} did not advance`);
  }

  #moveTo(session: OpenSession<State>): void {
    this.#session = session;
    if (this.#anchored !== undefined) this.#anchored.session = session;
  }
}
