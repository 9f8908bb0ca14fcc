import { setTimeout as delay } from "node:timers/promises";
import { Errors, type StatusError } from "../errors.ts";
import { GroupCommit } from "../pg/groupCommit.ts";
import type { Db, Pool } from "../pg/pool.ts";
import { type OpenTransaction, openTransaction } from "../pg/transaction.ts";
import { KeyedQueue } from "../runtime/keyedQueue.ts";
import type {
  AnchorStore,
  FirstVersion,
  NextVersion,
  RequestIdentity,
  Version,
} from "./anchorStore.ts";
import { beginningOf, callOf, moveOf } from "./rows.ts";
import { advanceAnchors, type Move, type Outcome } from "./sql/advanceAnchors.ts";
import { deleteSavedResponses } from "./sql/deleteSavedResponses.ts";
import { type Beginning, insertAnchors } from "./sql/insertAnchors.ts";
import { keepPartitions } from "./sql/keepPartitions.ts";
import { readAdvance } from "./sql/readAdvance.ts";
import { type AnchorRow, readAnchor } from "./sql/readAnchor.ts";
import { readSavedResponses, type SavedResponseRow } from "./sql/readSavedResponses.ts";

/** Most responses in streams that are saved of one session: the newest. */
export const MAX_SAVED_RESPONSES = 1000;

/** Back-off while another transaction holds the session's row lock, and its limit. */
const MIN_WAIT_MS = 2;
const MAX_WAIT_MS = 50;
const MAX_LOCK_WAIT_MS = 10_000;

/**
 * The anchors in one schema of Postgres: the compare-and-set that advances anchored sessions.
 *
 * Outside a transaction it uses group commit: one statement advances many sessions, each with an outcome of
 * its own.
 */
export class Anchors implements AnchorStore {
  readonly pool: Pool;
  readonly #schema: string;
  readonly #replica: string;
  readonly #service: string | undefined;
  readonly #beginnings: GroupCommit<Beginning, undefined>;
  readonly #moves: GroupCommit<Move, Outcome>;
  readonly #turns = new KeyedQueue();

  /**
   * @param replica name of this replica, recorded with each advance
   * @param service the sessions' service, where it stores its anchors in another's schema. Default: the
   *   schema's own
   */
  constructor(pool: Pool, schema: string, replica: string, service?: string) {
    this.pool = pool;
    this.#schema = schema;
    this.#replica = replica;
    this.#service = service;
    this.#beginnings = new GroupCommit(async (beginnings) => {
      await this.#insert(pool, beginnings);
      return beginnings.map(() => undefined);
    });
    this.#moves = new GroupCommit((moves) => this.#advanceEach(moves));
  }

  async beginTransaction(sessionId: string): Promise<OpenTransaction> {
    const leave = await this.#turn(sessionId);
    try {
      const { db, commit, rollback } = await openTransaction(this.pool);
      return {
        db,
        commit: () => commit().finally(leave),
        rollback: () => rollback().finally(leave),
      };
    } catch (error) {
      leave();
      throw error;
    }
  }

  async create(first: FirstVersion, tx?: Db): Promise<void> {
    const row = beginningOf(first);
    if (tx === undefined) await this.insert(row);
    else await this.#insert(tx, [row]);
  }

  async advance(from: Version, next: NextVersion, tx?: Db): Promise<boolean> {
    const move = moveOf(from, next);
    if (tx === undefined) return this.move(move);
    return (await this.#advance(tx, [move])).get(from.sessionId) === "moved";
  }

  /** Creates an anchor from its row. @param row names the replica, where that is not this one */
  async insert(row: Beginning): Promise<void> {
    await this.#beginnings.add(row);
  }

  /**
   * Advances a session by a move. It retries while another transaction holds the session.
   *
   * @param move names the replica, where that is not this one
   * @throws StatusError CONFLICT: the transaction held the session for 10 s
   */
  async move(move: Move): Promise<boolean> {
    const until = performance.now() + MAX_LOCK_WAIT_MS;
    for (let waitMs = MIN_WAIT_MS; ; waitMs = Math.min(waitMs * 2, MAX_WAIT_MS)) {
      const outcome = await this.#moves.add(move);
      if (outcome !== "busy") return outcome === "moved";
      if (performance.now() > until) throw heldError();
      await delay(waitMs * (0.5 + Math.random() / 2));
    }
  }

  read(sessionId: string): Promise<AnchorRow | undefined> {
    return readAnchor(this.pool, this.#schema, sessionId, this.#service);
  }

  lock(sessionId: string, tx: Db): Promise<AnchorRow | undefined> {
    return readAnchor(tx, this.#schema, sessionId, this.#service, true);
  }

  async wasServed(from: Version, identity: RequestIdentity): Promise<boolean> {
    const call = await this.callOf(from.sessionId, from.version + 1);
    return call?.equals(callOf(from, identity)) ?? false;
  }

  /** Returns the fingerprint of the call that made a version. */
  async callOf(
    sessionId: string,
    version: number,
    db: Db = this.pool,
  ): Promise<Buffer | undefined> {
    return (await readAdvance(db, this.#schema, sessionId, version))?.call ?? undefined;
  }

  savedAfter(sessionId: string, version: number, limit: number): Promise<SavedResponseRow[]> {
    return readSavedResponses(this.pool, this.#schema, sessionId, version, limit);
  }

  /**
   * Creates partitions ahead of time, and drops those whose sessions have all expired. Call it at least once
   * in `widthS`.
   *
   * @param widthS time span of one partition, in seconds
   * @param keepS longest life of a session, in seconds
   * @returns the names of the dropped partitions; undefined while another replica does this work
   */
  keepPartitions(widthS: number, keepS: number): Promise<string[] | undefined> {
    return keepPartitions(this.pool, this.#schema, widthS, keepS);
  }

  /** Waits until no other call of this replica has the session. @returns lets the next call go */
  async #turn(sessionId: string): Promise<() => void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const leave = this.#turns.take(sessionId, resolve);
    const timer = setTimeout(() => {
      leave();
      reject(heldError());
    }, MAX_LOCK_WAIT_MS);
    await promise.finally(() => clearTimeout(timer));
    return leave;
  }

  /** One statement advances a session once: further moves of the same session take another round. */
  async #advanceEach(moves: readonly Move[]): Promise<Outcome[]> {
    const outcomes = new Map<Move, Outcome>();
    let left = [...moves].sort((a, b) => (a.sessionId < b.sessionId ? -1 : 1));
    while (left.length > 0) {
      const round = left.filter((move, at) => move.sessionId !== left[at - 1]?.sessionId);
      const became = await this.#advance(this.pool, round);
      for (const move of round) outcomes.set(move, became.get(move.sessionId)!);
      left = left.filter((move) => !outcomes.has(move));
    }
    return moves.map((move) => outcomes.get(move)!);
  }

  #insert(db: Db, rows: readonly Beginning[]): Promise<void> {
    return insertAnchors(db, this.#schema, this.#replica, rows, this.#service);
  }

  async #advance(db: Db, moves: readonly Move[]): Promise<Map<string, Outcome>> {
    const became = await advanceAnchors(db, this.#schema, this.#replica, moves, this.#service);
    // A stream's caller that is further behind cannot resume.
    const old = moves
      .filter(({ sessionId, version, isSaved }) => {
        return isSaved && version > MAX_SAVED_RESPONSES && became.get(sessionId) === "moved";
      })
      .map(({ sessionId, version }) => ({ sessionId, version: version + 1 - MAX_SAVED_RESPONSES }));
    if (old.length > 0) await deleteSavedResponses(db, this.#schema, old);
    return became;
  }
}

function heldError(): StatusError {
  return Errors.CONFLICT({ cause: "another call holds the session", retryAfterMs: 1000 });
}
