import type { EnvelopeV1 } from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import { type CheckpointStore, NO_CHECKPOINTS } from "../anchors/checkpoints.ts";
import type { Call, Handler } from "../server/call.ts";
import { WAYBILL_KEY } from "../waybill/carriers.ts";
import { isAnonymous } from "../waybill/owner.ts";
import type { OpenSession } from "../waybill/session.ts";
import type { Sessions } from "../waybill/sessions.ts";
import type { Opened, SessionCalls } from "./sessionCalls.ts";

/** The steps of one method with sessions of which nothing is kept. Reading anchored ones is no different. */
export class CarriedSteps<State> {
  readonly #next: Handler;
  readonly #calls: SessionCalls<State>;
  readonly #sessions: Sessions<State>;

  readonly #checkpoints: CheckpointStore;

  constructor(next: Handler, calls: SessionCalls<State>, checkpoints: CheckpointStore) {
    this.#checkpoints = checkpoints;
    this.#next = next;
    this.#calls = calls;
    this.#sessions = calls.sessions;
  }

  async begin(request: unknown, call: Call, opened: Opened<State>): Promise<unknown> {
    const { session } = opened;
    const response = await this.#next(request, call);
    const state = this.#sessions.encode(session.state, session.unknown);
    await this.#succeed(call, opened, response, state);
    return response;
  }

  async read(request: unknown, call: Call, opened: Opened<State>): Promise<unknown> {
    const response = await this.#next(request, call);
    if (call.wantsCheckpoint) await this.#keepAsked(opened.session);
    this.#prolong(call, opened, response);
    return response;
  }

  /** Goes on, in a new session, from what is kept of one. */
  async resume(request: unknown, call: Call, kept: EnvelopeV1): Promise<unknown> {
    return this.begin(request, call, await this.#calls.continueFrom(kept, call));
  }

  async advance(request: unknown, call: Call, opened: Opened<State>): Promise<unknown> {
    const { session } = opened;
    const response = await this.#next(request, call);
    const after = this.#sessions.encode(session.state, session.unknown);
    if (session.encoded.equals(after)) {
      if (call.wantsCheckpoint) await this.#keepAsked(session);
      this.#prolong(call, opened, response);
    } else await this.#succeed(call, opened, response, after);
    return response;
  }

  async end(request: unknown, call: Call, { session }: Opened<State>): Promise<unknown> {
    const response = await this.#next(request, call);
    // Strangers could begin and end sessions without limit: theirs are not worth remembering.
    if (!isAnonymous(session.subject)) await this.#calls.revoke(session, session.subject);
    call.reply.set(WAYBILL_KEY, "");
    return response;
  }

  async bind(request: unknown, call: Call, opened: Opened<State>): Promise<unknown> {
    const session = this.#calls.bind(opened.session, call);
    const response = await this.#next(request, call);
    const state = this.#sessions.encode(session.state, session.unknown);
    await this.#succeed(call, { ...opened, session }, response, state);
    await this.#calls.revoke(opened.session, session.subject);
    return response;
  }

  /** Answers with the same version again, before the waybill that came idles out. */
  #prolong(call: Call, { session, carrier }: Opened<State>, response: unknown): void {
    if (!this.#sessions.isAging(session)) return;
    this.#calls.seal(carrier, this.#sessions.renewed(session))(call, response);
  }

  /** Answers with the session's next waybill. */
  async #succeed(
    call: Call,
    opened: Opened<State>,
    response: unknown,
    state: Uint8Array,
  ): Promise<void> {
    const successor = this.#sessions.successor(opened.session, state);
    const fitting = this.#calls.fit(opened, successor);
    const envelope = fitting instanceof Promise ? await fitting : fitting;
    const deliver = this.#calls.seal(opened.carrier, envelope);
    if (this.#checkpoints !== NO_CHECKPOINTS || call.wantsCheckpoint) {
      await this.#checkpoints.saveIfDue(envelope, call.wantsCheckpoint);
    }
    deliver(call, response);
  }

  /** Keeps a version that stays as it is, for its handler has asked for it. */
  async #keepAsked({ anchored, envelope }: OpenSession<State>): Promise<void> {
    if (!anchored) await this.#checkpoints.saveIfDue(envelope, true);
  }
}
