import {
  type EnvelopeV1,
  Part,
  type SavedResponseV1,
} from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import type { RequestIdentity } from "../anchors/anchorStore.ts";
import { missedResponses } from "../anchors/missedResponses.ts";
import { assertAnchored, findReplay, isCurrent, staleError } from "../anchors/replay.ts";
import { Errors } from "../errors.ts";
import type { Db } from "../pg/pool.ts";
import { isAnonymous } from "../waybill/owner.ts";
import type { OpenSession } from "../waybill/session.ts";
import { HandlerTransaction } from "./handlerTransaction.ts";
import type { MethodSessions, Opened } from "./methodSessions.ts";
import type { Anchorage } from "./options.ts";

/** One write to the anchors: the saved response, and the compare-and-set that stores it. */
export interface Write {
  readonly response: SavedResponseV1;
  /** @param box the response, sealed @returns false when the session is no longer at the version */
  compareAndSet(db: Db | undefined, box: Buffer): Promise<boolean>;
}

const EMPTY = Buffer.alloc(0);

/** Empty identity, for a call that begins a session: a retry gets no saved response. */
const NO_IDENTITY: RequestIdentity = { idempotencyDigest: EMPTY, requestDigest: EMPTY };

/**
 * One call on an anchored session, unary or streaming: finds the saved response of a replayed call, opens
 * the handler's transaction, and commits the next version with one compare-and-set.
 */
export class AnchoredCall<State> {
  readonly transaction: HandlerTransaction;
  /** The session at its current version; a stream replaces it as it advances. */
  session: OpenSession<State>;
  readonly #own: MethodSessions<State>;
  readonly #anchorage: Anchorage;
  readonly #identity: RequestIdentity;
  #registered: string | undefined;

  /** @param identity default: the call cannot be replayed */
  constructor(
    own: MethodSessions<State>,
    anchorage: Anchorage,
    session: OpenSession<State>,
    identity: RequestIdentity = NO_IDENTITY,
  ) {
    this.#own = own;
    this.#anchorage = anchorage;
    this.session = session;
    this.#identity = identity;
    this.transaction = new HandlerTransaction(anchorage.anchors, session.id, (db) =>
      this.#lock(db),
    );
  }

  /**
   * Finds the saved response when this call is a retry of one that was served.
   *
   * @returns undefined when the session is at the waybill's version
   * @throws StatusError as `findReplay`
   */
  async replay(): Promise<SavedResponseV1 | undefined> {
    const { id, envelope } = this.session;
    const { anchors, savedResponses } = this.#anchorage;
    const row = await anchors.read(id);
    return findReplay(row, envelope, this.#identity, savedResponses, () => this.#wasServed());
  }

  /** Yields the saved responses that a broken stream has missed, after the version of its waybill. */
  missed(): AsyncGenerator<SavedResponseV1> {
    const { anchors, savedResponses } = this.#anchorage;
    return missedResponses(this.session.envelope, this.#identity, anchors, savedResponses);
  }

  /** @throws StatusError WAYBILL_STALE, WAYBILL_ENDED, WAYBILL_INVALID */
  async assertCurrent(): Promise<void> {
    const { id, envelope } = this.session;
    const row = await this.#anchorage.anchors.read(id);
    assertAnchored(row);
    if (isCurrent(row, envelope)) return;
    throw staleError(row, envelope, await this.#wasServed());
  }

  /**
   * Adds a session that begins, here or by `bind`, to its owner's list. It is done before the first waybill
   * leaves, and outside the handler's transaction. Anonymous sessions are not listed.
   */
  async register(session: OpenSession<State> = this.session): Promise<void> {
    if (!session.anchored || session.version > 0 || this.#registered === session.id) return;
    if (isAnonymous(session.subject)) return;
    await HandlerTransaction.aside(async () => this.#anchorage.directory?.register(session));
    this.#registered = session.id;
  }

  /** Returns the envelope of the session's next version, with a large state spilled in the transaction. */
  async successor(opened: Opened<State>): Promise<EnvelopeV1> {
    const { session } = opened;
    const successor = this.#own.sessions.successor(session, this.#own.encode(session));
    return this.#own.fit(opened, successor, this.transaction.opener);
  }

  /**
   * The write that makes the session's next version.
   *
   * @param response encoded
   * @param successor undefined: the session ends
   * @param part of a stream, whose saved responses are stored beside each other
   */
  next(response: Buffer, successor: EnvelopeV1 | undefined, part?: Part): Write {
    const { session } = this;
    if (session.version === 0) return this.first(session, successor!);
    const { version, digest: parentDigest } = session.envelope;
    const next = successor ?? this.#own.sessions.last(session);
    const { sessionId, digest } = next;
    return {
      response: {
        ...this.#identity,
        sessionId,
        version: next.version,
        digest,
        parentDigest,
        response,
        successor,
        part: part ?? Part.PART_UNSPECIFIED,
      },
      compareAndSet: (db, savedResponse) => {
        const from = { sessionId: session.id, version, digest: parentDigest };
        const ended = successor === undefined;
        const isSaved = part !== undefined;
        const identity = this.#identity;
        return this.#anchorage.anchors.advance(
          from,
          { digest, identity, savedResponse, ended, isSaved },
          db,
        );
      },
    };
  }

  /** The write that anchors a session at its first version. */
  first(session: OpenSession<State>, successor: EnvelopeV1): Write {
    const { sessionId, version, digest, parentDigest } = successor;
    return {
      response: {
        ...NO_IDENTITY,
        sessionId,
        version,
        digest,
        parentDigest,
        response: EMPTY,
        successor,
        part: Part.PART_UNSPECIFIED,
      },
      compareAndSet: async (db, savedResponse) => {
        const { id, expiresAt } = session;
        await this.#anchorage.anchors.create(
          { sessionId: id, digest, savedResponse, expiresAt },
          db,
        );
        return true;
      },
    };
  }

  /**
   * Commits writes together with the handler's transaction, if it has opened one.
   *
   * @returns false when another call has advanced the session
   */
  commit(...writes: Write[]): Promise<boolean> {
    // Sealed before the transaction writes: a failure leaves nothing done.
    const boxes = writes.map(({ response }) => this.#anchorage.savedResponses.seal(response));
    return this.transaction.finish(async (db) => {
      for (const [index, { compareAndSet }] of writes.entries()) {
        if (await compareAndSet(db, boxes[index]!)) continue;
        // The row is locked: the handler's own writes must not be committed without this one.
        if (db !== undefined) throw new Error(`session ${this.session.id} moved while locked`);
        return false;
      }
      return true;
    });
  }

  /** Locks the session's row for the handler's transaction. @throws StatusError CONFLICT: it has moved */
  async #lock(db: Db): Promise<void> {
    const { id, version, anchored, envelope } = this.session;
    if (!anchored || version === 0) return;
    const row = await this.#anchorage.anchors.lock(id, db);
    assertAnchored(row);
    if (isCurrent(row, envelope)) return;
    throw Errors.CONFLICT({ cause: "the session has advanced", retryAfterMs: 20 });
  }

  #wasServed(): Promise<boolean> {
    const { id: sessionId, envelope } = this.session;
    const { version, digest } = envelope;
    return this.#anchorage.anchors.wasServed({ sessionId, version, digest }, this.#identity);
  }
}
