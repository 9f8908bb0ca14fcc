import { Groups } from "../pg/groups.ts";
import type { Db, Pool } from "../pg/pool.ts";
import { callFingerprint, fingerprint } from "../waybill/chain.ts";
import type { Asked } from "./asked.ts";
import { advanceAnchors, type Move } from "./sql/advanceAnchors.ts";
import { type Beginning, insertAnchors } from "./sql/insertAnchors.ts";
import { keepPartitions } from "./sql/keepPartitions.ts";
import { readAdvance } from "./sql/readAdvance.ts";
import { type AnchorRow, readAnchor } from "./sql/readAnchor.ts";
import { type KeptAnswer, readKeptAnswers } from "./sql/readKeptAnswers.ts";

/** A version of a session, for the table. */
export interface Version {
  /** 16 bytes, in the text form of a UUID. */
  readonly sessionId: string;
  readonly version: number;
  /** Its chain digest. */
  readonly digest: Buffer;
}

/**
 * The anchors of one schema's sessions: which version of each is the newest.
 *
 * Outside a transaction, many sessions' steps are made in one statement and commit, each with an
 * outcome of its own.
 */
export class Anchors {
  readonly pool: Pool;
  readonly #schema: string;
  readonly #replica: string;
  readonly #beginnings: Groups<Beginning, undefined>;
  readonly #moves: Groups<Move, boolean>;

  /** @param replica what the lines of the advances say who made them */
  constructor(pool: Pool, schema: string, replica: string) {
    this.pool = pool;
    this.#schema = schema;
    this.#replica = replica;
    this.#beginnings = new Groups(async (beginnings) => {
      await insertAnchors(pool, schema, replica, beginnings);
      return beginnings.map(() => undefined);
    });
    this.#moves = new Groups((moves) => this.#advanceEach(moves));
  }

  /**
   * Anchors a session at its first version.
   *
   * @param answer its checkpoint, sealed
   * @param tx to be done in; default: its own, with others'
   */
  async begin(
    { sessionId, digest, answer }: { sessionId: string; digest: Buffer; answer: Buffer },
    tx?: Db,
  ): Promise<void> {
    const row = {
      sessionId,
      head: fingerprint("anchor", digest),
      digest: fingerprint("advance", digest),
      answer,
    };
    if (tx === undefined) await this.#beginnings.add(row);
    else await insertAnchors(tx, this.#schema, this.#replica, [row]);
  }

  /**
   * The compare-and-set: takes a session from a version to the next.
   *
   * @param digest the next version's chain digest
   * @param asked what tells the call from others
   * @param answer what it is answered, sealed
   * @param ended whether the next version is the last
   * @param isKept whether the answer is kept beside those of later versions, too, for the session's life
   * @param tx to be done in; default: its own, with others'
   * @returns whether the session was at that version
   */
  async advance(
    from: Version,
    {
      digest,
      asked,
      answer,
      ended,
      isKept = false,
    }: { digest: Buffer; asked: Asked; answer: Buffer; ended: boolean; isKept?: boolean },
    tx?: Db,
  ): Promise<boolean> {
    const move = {
      sessionId: from.sessionId,
      version: from.version,
      head: fingerprint("anchor", from.digest),
      nextHead: fingerprint("anchor", digest),
      digest: fingerprint("advance", digest),
      parent: fingerprint("advance", from.digest),
      call: callFingerprint(from.digest, asked.idempotencyDigest, asked.requestDigest),
      answer,
      ended,
      isKept,
    };
    if (tx === undefined) return this.#moves.add(move);
    return (await advanceAnchors(tx, this.#schema, this.#replica, [move])).has(from.sessionId);
  }

  /** Where a session stands; undefined when it has no anchor. */
  read(sessionId: string): Promise<AnchorRow | undefined> {
    return readAnchor(this.pool, this.#schema, sessionId);
  }

  /** The same, and nobody else moves it before the transaction has ended. */
  lock(sessionId: string, tx: Db): Promise<AnchorRow | undefined> {
    return readAnchor(tx, this.#schema, sessionId, true);
  }

  /** Whether a call that went on from a version was served, though its answer may be gone. */
  async wasServed({ sessionId, version, digest }: Version, asked: Asked, db: Db = this.pool) {
    const row = await readAdvance(db, this.#schema, sessionId, version + 1);
    const call = callFingerprint(digest, asked.idempotencyDigest, asked.requestDigest);
    return row?.call?.equals(call) ?? false;
  }

  /** The answers that are kept of a session's versions after one, in their order. */
  keptAfter(sessionId: string, version: number, limit: number): Promise<KeptAnswer[]> {
    return readKeptAnswers(this.pool, this.#schema, sessionId, version, limit);
  }

  /**
   * Makes partitions ahead of time, and drops those whose sessions are all over. To be run again and
   * again, at least once in `widthS`.
   *
   * @param widthS how much time's sessions share a partition, in seconds
   * @param keepS how long a session is kept from its begin, in seconds
   * @returns the names of those dropped; undefined when another had the work in hand
   */
  keepPartitions(widthS: number, keepS: number): Promise<string[] | undefined> {
    return keepPartitions(this.pool, this.#schema, widthS, keepS);
  }

  /** One statement moves a session once: what comes twice is done in rounds. */
  async #advanceEach(moves: readonly Move[]): Promise<boolean[]> {
    const outcomes = new Map<Move, boolean>();
    let left = [...moves].sort((a, b) => (a.sessionId < b.sessionId ? -1 : 1));
    while (left.length > 0) {
      const round = left.filter((move, at) => move.sessionId !== left[at - 1]?.sessionId);
      const moved = await advanceAnchors(this.pool, this.#schema, this.#replica, round);
      for (const move of round) outcomes.set(move, moved.has(move.sessionId));
      left = left.filter((move) => !outcomes.has(move));
    }
    return moves.map((move) => outcomes.get(move)!);
  }
}
