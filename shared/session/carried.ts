import type { CheckpointStore } from "../anchors/checkpoints.ts";
import { NO_CHECKPOINTS } from "../anchors/checkpoints.ts";
import { isAnonymous } from "../waybill/owner.ts";
import type { OpenSession } from "../waybill/session.ts";
import type { Handler, SessionCall } from "./call.ts";
import type { MethodSessions, Opened } from "./methodSessions.ts";

/** The steps of one unary method with carried sessions. Reads of anchored sessions are the same. */
export class CarriedSteps<State> {
  readonly #next: Handler;
  readonly #own: MethodSessions<State>;
  readonly #checkpoints: CheckpointStore;

  constructor(next: Handler, own: MethodSessions<State>, checkpoints: CheckpointStore) {
    this.#next = next;
    this.#own = own;
    this.#checkpoints = checkpoints;
  }

  async begin(request: unknown, call: SessionCall, opened: Opened<State>): Promise<unknown> {
    const { session } = opened;
    const response = await this.#next(request, call);
    await this.#succeed(call, opened, response, this.#own.encode(session));
    return response;
  }

  async read(request: unknown, call: SessionCall, opened: Opened<State>): Promise<unknown> {
    const response = await this.#next(request, call);
    if (call.wantsCheckpoint) await this.#saveRequested(opened.session);
    this.#prolong(call, opened, response);
    return response;
  }

  async advance(request: unknown, call: SessionCall, opened: Opened<State>): Promise<unknown> {
    const { session } = opened;
    const response = await this.#next(request, call);
    const after = this.#own.encode(session);
    if (session.encoded.equals(after)) {
      if (call.wantsCheckpoint) await this.#saveRequested(session);
      this.#prolong(call, opened, response);
    } else await this.#succeed(call, opened, response, after);
    return response;
  }

  async end(request: unknown, call: SessionCall, { session }: Opened<State>): Promise<unknown> {
    const response = await this.#next(request, call);
    // A stranger can begin and end sessions without limit: anonymous ones are not revoked.
    if (!isAnonymous(session.subject)) await this.#own.revoke(session, session.subject);
    call.replyWith("");
    return response;
  }

  /** Sends the same version again, with a later idle expiry, once half of the idle life is over. */
  #prolong(call: SessionCall, { session, carrier }: Opened<State>, response: unknown): void {
    const { sessions } = this.#own;
    if (!sessions.isAging(session)) return;
    this.#own.seal(carrier, sessions.renewed(session))(call, response);
  }

  async #succeed(
    call: SessionCall,
    opened: Opened<State>,
    response: unknown,
    state: Uint8Array,
  ): Promise<void> {
    const successor = this.#own.sessions.successor(opened.session, state);
    const fitting = this.#own.fit(opened, successor);
    const envelope = fitting instanceof Promise ? await fitting : fitting;
    const deliver = this.#own.seal(opened.carrier, envelope);
    if (this.#checkpoints !== NO_CHECKPOINTS || call.wantsCheckpoint) {
      await this.#checkpoints.saveIfDue(envelope, call.wantsCheckpoint);
    }
    deliver(call, response);
  }

  /** Saves an unchanged version because the handler asked for a checkpoint. */
  async #saveRequested({ anchored, envelope }: OpenSession<State>): Promise<void> {
    if (!anchored) await this.#checkpoints.saveIfDue(envelope, true);
  }
}
