import type {
  EnvelopeV1,
  Part,
  SavedResponseV1,
} from "../../../proto/gen/waybill/envelope/v1/envelope.ts";
import { missedResponses } from "../../anchors/missedResponses.ts";
import type { RequestIdentity } from "../../anchors/requestIdentity.ts";
import { assertAnchored, isCurrent, staleError } from "../../anchors/settle.ts";
import type { AnchorRow } from "../../anchors/sql/readAnchor.ts";
import type { Db } from "../../pg/pool.ts";
import type { OpenSession } from "../../waybill/session.ts";
import type { Anchorage } from "../anchorage.ts";
import { Endings } from "../endings.ts";
import { HandlerTransaction } from "../handlerTransaction.ts";
import type { SessionCalls } from "../sessionCalls.ts";

/** The way of an anchored session through a stream. */
export class AnchoredWay<State> {
  readonly transaction: HandlerTransaction;
  readonly #anchorage: Anchorage;
  readonly #endings: Endings<State>;
  readonly #asked: RequestIdentity;
  readonly #current: () => OpenSession<State>;
  #isRegistered = false;

  /** @param current the session, as it is now */
  constructor(
    calls: SessionCalls<State>,
    anchorage: Anchorage,
    asked: RequestIdentity,
    current: () => OpenSession<State>,
  ) {
    this.#anchorage = anchorage;
    this.#endings = new Endings(calls, anchorage);
    this.#asked = asked;
    this.#current = current;
    this.transaction = new HandlerTransaction(anchorage.anchors, current().id, (db) =>
      this.#lock(db),
    );
  }

  /** What earlier calls like this one were answered after the session's waybill. */
  missed(): AsyncGenerator<SavedResponseV1> {
    const { anchors, answers } = this.#anchorage;
    return missedResponses(this.#current().envelope, this.#asked, anchors, answers);
  }

  /** @throws StatusError WAYBILL_STALE, WAYBILL_ENDED, WAYBILL_INVALID */
  async assertStands(): Promise<void> {
    const { anchors } = this.#anchorage;
    await this.#assertAt(await anchors.read(this.#current().id));
  }

  /**
   * Checks that an error of the handler is one about the newest state. Rolls back its transaction.
   *
   * @throws StatusError as `assertStands`; rejects when the session cannot be looked up
   */
  async assertStillStands(): Promise<void> {
    const wasLocked = await this.transaction.abandon();
    const { anchored, version } = this.#current();
    if (anchored && version > 0 && !wasLocked) await this.assertStands();
  }

  /** Has a session that begins listed. To be done before a transaction is open, where it can be. */
  async register(): Promise<void> {
    const session = this.#current();
    if (!session.anchored || session.version > 0 || this.#isRegistered) return;
    await HandlerTransaction.aside(() => this.#endings.register(session));
    this.#isRegistered = true;
  }

  /** Takes the session to its next version, with what the handler's transaction has done. */
  async advance(part: Part, response: Buffer, next: EnvelopeV1): Promise<void> {
    const session = this.#current();
    if (!session.anchored) {
      await this.transaction.finish(async () => {});
      return;
    }
    const { answer, commit } =
      session.version === 0
        ? this.#endings.toFirst(session, next)
        : this.#endings.toNext(session, this.#asked, response, next, part);
    const box = this.#anchorage.answers.seal(answer);
    const hasMoved = await this.transaction.finish(async (db) => {
      const isFirst = await commit(db, box);
      // Locked, and yet elsewhere: the handler's rows must not be committed without the step.
      if (!isFirst && db !== undefined)
        throw new Error(`session ${session.id} moved while it was locked`);
      return isFirst;
    });
    if (hasMoved) return;
    await this.assertStands();
    throw new Error(`session ${session.id} did not move from where it stands`);
  }

  async #lock(db: Db): Promise<void> {
    const { id, version, anchored } = this.#current();
    if (!anchored || version === 0) return;
    await this.#assertAt(await this.#anchorage.anchors.lock(id, db), db);
  }

  async #assertAt(row: AnchorRow | undefined, db?: Db): Promise<void> {
    const { id: sessionId, envelope } = this.#current();
    assertAnchored(row);
    if (isCurrent(row, envelope)) return;
    const { version, digest } = envelope;
    const from = { sessionId, version, digest };
    throw staleError(row, envelope, await this.#anchorage.anchors.wasServed(from, this.#asked, db));
  }
}
