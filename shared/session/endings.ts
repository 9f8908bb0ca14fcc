import {
  type EnvelopeV1,
  Part,
  type SavedResponseV1,
} from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import type { AnchorStore } from "../anchors/anchorStore.ts";
import type { RequestIdentity } from "../anchors/requestIdentity.ts";
import type { Directory } from "../anchors/sessionDirectory.ts";
import type { Db } from "../pg/pool.ts";
import { isAnonymous } from "../waybill/owner.ts";
import type { OpenSession } from "../waybill/session.ts";
import type { Sessions } from "../waybill/sessions.ts";
import type { Anchorage } from "./anchorage.ts";
import type { HandlerTransaction } from "./handlerTransaction.ts";
import type { Opened, SessionCalls } from "./sessionCalls.ts";

/** What a call does to the anchors when its handler is done. */
export interface Ending {
  readonly answer: SavedResponseV1;
  /** Does it; false when another call was first. @param box the answer, sealed */
  commit(db: Db | undefined, box: Buffer): Promise<boolean>;
}

const NOTHING = Buffer.alloc(0);

/** Works out what calls do to the anchors. */
export class Endings<State> {
  readonly #calls: SessionCalls<State>;
  readonly #sessions: Sessions<State>;
  readonly #anchors: AnchorStore;
  readonly #directory: Directory | undefined;

  constructor(calls: SessionCalls<State>, { anchors, directory }: Anchorage) {
    this.#calls = calls;
    this.#sessions = calls.sessions;
    this.#anchors = anchors;
    this.#directory = directory;
  }

  /**
   * The envelope of a session's next version, with its state kept elsewhere where it is too large.
   *
   * @param transaction of the step: what is kept for a step that does not come about is not kept
   */
  async successor(opened: Opened<State>, transaction: HandlerTransaction): Promise<EnvelopeV1> {
    const { session } = opened;
    const successor = this.#sessions.successor(
      session,
      this.#sessions.encode(session.state, session.unknown),
    );
    return this.#calls.fit(opened, successor, transaction.opener);
  }

  /**
   * A session's step to its next version; to its last one without a successor.
   *
   * @param part of a stream, whose answers are kept beside each other
   */
  toNext(
    session: OpenSession<State>,
    asked: RequestIdentity,
    response: Buffer,
    successor: EnvelopeV1 | undefined,
    part?: Part,
  ): Ending {
    const { version, digest: parentDigest } = session.envelope;
    const next = successor ?? this.#sessions.last(session);
    const { sessionId, digest } = next;
    return {
      answer: {
        ...asked,
        sessionId,
        version: next.version,
        digest,
        parentDigest,
        response,
        successor,
        part: part ?? Part.PART_UNSPECIFIED,
      },
      commit: (db, answer) => {
        const from = { sessionId: session.id, version, digest: parentDigest };
        const ended = successor === undefined;
        const isKept = part !== undefined;
        return this.#anchors.advance(from, { digest, asked, answer, ended, isKept }, db);
      },
    };
  }

  /** A session's first version. */
  toFirst(session: OpenSession<State>, successor: EnvelopeV1): Ending {
    const { sessionId, version, digest, parentDigest } = successor;
    return {
      answer: {
        idempotencyDigest: NOTHING,
        requestDigest: NOTHING,
        sessionId,
        version,
        digest,
        parentDigest,
        response: NOTHING,
        successor,
        part: Part.PART_UNSPECIFIED,
      },
      commit: async (db, answer) => {
        await this.#anchors.begin(
          { sessionId: session.id, digest, answer, expiresAt: session.expiresAt },
          db,
        );
        return true;
      },
    };
  }

  /** Has a session listed; of nobody's sessions nobody asks for a list. To be done before its first waybill is out. */
  async register(session: OpenSession<State>): Promise<void> {
    if (!isAnonymous(session.subject)) await this.#directory?.register(session);
  }
}
