import { WAYBILL_KEY } from "../waybill/carriers.ts";
import { isAnonymous } from "../waybill/owner.ts";
import type { Sessions } from "../waybill/sessions.ts";
import type { Call, Handler } from "./call.ts";
import type { Opened, SessionCalls } from "./sessionCalls.ts";

/** The steps of one method with sessions of which nothing is kept. Reading anchored ones is no different. */
export class CarriedSteps<State> {
  readonly #next: Handler;
  readonly #calls: SessionCalls<State>;
  readonly #sessions: Sessions<State>;

  constructor(next: Handler, calls: SessionCalls<State>) {
    this.#next = next;
    this.#calls = calls;
    this.#sessions = calls.sessions;
  }

  async begin(request: unknown, call: Call, opened: Opened<State>): Promise<unknown> {
    const { session } = opened;
    const response = await this.#next(request, call);
    await this.#succeed(
      call,
      opened,
      response,
      this.#sessions.encode(session.state, session.unknown),
      1,
    );
    return response;
  }

  async read(request: unknown, call: Call, opened: Opened<State>): Promise<unknown> {
    const { session } = opened;
    const response = await this.#next(request, call);
    if (!this.#sessions.isAging(session)) return response;
    await this.#succeed(call, opened, response, session.encoded, session.version);
    return response;
  }

  async advance(request: unknown, call: Call, opened: Opened<State>): Promise<unknown> {
    const { session } = opened;
    const response = await this.#next(request, call);
    const after = this.#sessions.encode(session.state, session.unknown);
    const isSame = session.encoded.equals(after);
    if (isSame && !this.#sessions.isAging(session)) return response;
    const version = isSame ? session.version : session.version + 1;
    await this.#succeed(call, opened, response, after, version);
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
    await this.#succeed(call, { ...opened, session }, response, state, 1);
    await this.#calls.revoke(opened.session, session.subject);
    return response;
  }

  /** Answers with the session's next waybill. */
  async #succeed(
    call: Call,
    opened: Opened<State>,
    response: unknown,
    state: Uint8Array,
    version: number,
  ): Promise<void> {
    const successor = this.#sessions.successor(opened.session, state, version);
    const envelope = await this.#calls.fit(opened, successor);
    this.#calls.seal(opened.carrier, envelope)(call, response);
  }
}
