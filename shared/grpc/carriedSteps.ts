import { WAYBILL_KEY } from "../waybill/carriers.ts";
import { isAnonymous, type OpenSession, type Sessions } from "../waybill/sessions.ts";
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

  async begin(request: unknown, call: Call, { session, carrier }: Opened<State>): Promise<unknown> {
    const response = await this.#next(request, call);
    const successor = this.#sessions.successor(session, this.#sessions.encode(session.state));
    this.#calls.seal(carrier, successor)(call, response);
    return response;
  }

  async read(request: unknown, call: Call, { session, carrier }: Opened<State>): Promise<unknown> {
    const before = carriedState(session);
    const response = await this.#next(request, call);
    if (!this.#sessions.isAging(session)) return response;
    const successor = this.#sessions.successor(session, before, session.version);
    this.#calls.seal(carrier, successor)(call, response);
    return response;
  }

  async advance(
    request: unknown,
    call: Call,
    { session, carrier }: Opened<State>,
  ): Promise<unknown> {
    const before = carriedState(session);
    const response = await this.#next(request, call);
    const after = this.#sessions.encode(session.state);
    const isSame = before.equals(after);
    if (isSame && !this.#sessions.isAging(session)) return response;
    const version = isSame ? session.version : session.version + 1;
    this.#calls.seal(carrier, this.#sessions.successor(session, after, version))(call, response);
    return response;
  }

  async end(request: unknown, call: Call, { session }: Opened<State>): Promise<unknown> {
    const response = await this.#next(request, call);
    // Strangers could begin and end sessions without limit: theirs are not worth remembering.
    if (!isAnonymous(session.subject)) await this.#calls.revoke(session, session.subject);
    call.reply.set(WAYBILL_KEY, "");
    return response;
  }

  async bind(
    request: unknown,
    call: Call,
    { session: old, carrier }: Opened<State>,
  ): Promise<unknown> {
    const session = this.#calls.bind(old, call);
    const response = await this.#next(request, call);
    const successor = this.#sessions.successor(session, this.#sessions.encode(session.state));
    this.#calls.seal(carrier, successor)(call, response);
    await this.#calls.revoke(old, session.subject);
    return response;
  }
}

function carriedState(session: OpenSession<unknown>): Buffer {
  const { content } = session.envelope;
  return content?.$case === "state" ? content.value : Buffer.alloc(0);
}
