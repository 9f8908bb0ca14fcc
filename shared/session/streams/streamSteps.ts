import type { Call } from "../../server/call.ts";
import type { OpenSession } from "../../waybill/session.ts";
import type { Opened } from "../sessionCalls.ts";
import { StreamedCall, type StreamedMethod } from "./streamedCall.ts";

/** The steps of one method that streams its requests, its responses, or both. */
export class StreamSteps<State> {
  readonly #on: StreamedMethod<State>;

  constructor(on: StreamedMethod<State>) {
    this.#on = on;
  }

  async begin(request: unknown, call: Call): Promise<unknown> {
    return this.#advancing(request, call, await this.#on.calls.begin(request, call));
  }

  async read(request: unknown, call: Call): Promise<unknown> {
    const { session } = await this.#on.calls.open(request, call);
    const { sessions } = this.#on.calls;
    if (sessions.isAging(session)) {
      this.#on.calls.sealFor("reply", sessions.renewed(session))(call, undefined);
    }
    const answer = await this.#on.next(request, call);
    if (this.#on.method.kind !== "client_streaming") {
      return this.#reading(answer as AsyncIterable<unknown>, session, call);
    }
    await this.#keepAsked(session, call);
    return answer;
  }

  /** A session that ends meanwhile is read no more. */
  async *#reading(
    messages: AsyncIterable<unknown>,
    session: OpenSession<State>,
    call: Call,
  ): AsyncGenerator<unknown> {
    for await (const message of messages) {
      this.#on.calls.assertLives(session, call);
      yield message;
    }
    await this.#keepAsked(session, call);
  }

  async #keepAsked({ anchored, envelope }: OpenSession<State>, call: Call): Promise<void> {
    if (call.wantsCheckpoint && !anchored) await this.#on.checkpoints.saveIfDue(envelope, true);
  }

  async advance(request: unknown, call: Call): Promise<unknown> {
    return this.#advancing(request, call, await this.#on.calls.open(request, call));
  }

  async #advancing(request: unknown, call: Call, { session }: Opened<State>): Promise<unknown> {
    const { kind } = this.#on.method;
    const isOne = kind === "server_streaming";
    const streamed = new StreamedCall(call, session, this.#on, isOne ? request : undefined);
    return kind === "client_streaming" ? streamed.response(request) : streamed.messages(request);
  }
}
