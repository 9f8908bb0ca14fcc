import { AsyncLocalStorage } from "node:async_hooks";
import type { AnchorStore } from "../anchors/anchorStore.ts";
import type { Db } from "../pg/pool.ts";
import type { OpenTransaction } from "../pg/transaction.ts";

const running = new AsyncLocalStorage<HandlerTransaction>();

/**
 * The transaction of one call: opened when the handler asks for it, ended by the interceptor when the
 * handler is done. A stream may have several, one after another: each advance ends one.
 */
export class HandlerTransaction {
  readonly #anchors: Pick<AnchorStore, "beginTransaction">;
  readonly #sessionId: string;
  readonly #first: (db: Db) => Promise<void>;
  #opening: Promise<OpenTransaction> | undefined;
  #refused: unknown;
  #isOpen = false;

  /**
   * @param anchors may have none to offer
   * @param first is done in it before the handler gets it, which does not get it when this rejects
   */
  constructor(
    anchors: Pick<AnchorStore, "beginTransaction">,
    sessionId: string,
    first: (db: Db) => Promise<void> = async () => {},
  ) {
    this.#anchors = anchors;
    this.#sessionId = sessionId;
    this.#first = first;
  }

  /** One and the same until it is ended, however often it is asked for. */
  async open(): Promise<Db> {
    this.#opening ??= this.#begin();
    return (await this.#opening).db;
  }

  /** Opens it; undefined where there is none to be had. */
  get opener(): (() => Promise<Db>) | undefined {
    return this.#anchors.beginTransaction && (() => this.open());
  }

  /** True if it was asked for, and has not been committed since. */
  get wasOpened(): boolean {
    return this.#opening !== undefined;
  }

  /** Runs a handler. @throws the error that refused the transaction, even if the handler caught it */
  async run<T>(handler: () => Promise<T>): Promise<T> {
    let result: T;
    try {
      result = await running.run(this, handler);
    } catch (error) {
      // The handler may have caught the refusal, and thrown an error of its own.
      throw this.#refused ?? error;
    }
    if (this.#refused !== undefined) throw this.#refused;
    return result;
  }

  /** Does the last of the work, in the transaction where there is one, and ends it. */
  async finish<T>(work: (db: Db | undefined) => Promise<T>): Promise<T> {
    if (this.#opening === undefined) return work(undefined);
    const { db, commit } = await this.#opening;
    const result = await work(db);
    this.#isOpen = false;
    await commit();
    this.#opening = undefined;
    return result;
  }

  /**
   * Rolls back. Call it when anything above rejects; afterwards the transaction can be opened anew.
   *
   * @returns whether it was open, so that the checks of `first` held while the handler ran
   */
  async abandon(): Promise<boolean> {
    // The error of opening it was thrown already.
    const opened = await this.#opening?.catch(() => undefined);
    this.#opening = undefined;
    if (opened === undefined || !this.#isOpen) return false;
    this.#isOpen = false;
    await opened.rollback();
    return true;
  }

  async #begin(): Promise<OpenTransaction> {
    const opened = await this.#anchors.beginTransaction?.(this.#sessionId);
    if (opened === undefined) {
      throw new Error("no transaction: the sessions are anchored at the session service");
    }
    this.#isOpen = true;
    try {
      await this.#first(opened.db);
      return opened;
    } catch (error) {
      this.#refused = error;
      this.#isOpen = false;
      await opened.rollback();
      throw error;
    }
  }

  /** Runs work outside the handler's transaction, even while it is open. */
  static aside<T>(work: () => Promise<T>): Promise<T> {
    return running.exit(work);
  }

  /**
   * For clients: others would wait for a transaction's locks as long as for the called service.
   *
   * @throws Error in a handler whose transaction is open
   */
  static assertNone(method: string): void {
    const transaction = running.getStore();
    if (transaction === undefined || !transaction.#isOpen) return;
    throw new Error(`${method} is called while the caller's transaction is open: call it before`);
  }
}
