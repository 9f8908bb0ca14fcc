/** Interval of wake-ups without a notification, in ms. */
const POLL_MS = 1000;

/** The rows of a feed after a number. */
export interface Piece {
  /** It contains every row up to this number that the reader did not have. */
  readonly number: bigint;
}

/**
 * Streams a feed of numbered rows from Postgres to many watchers. It caches nothing. Watchers wake on a notification,
 * and once a second in case a notification was lost.
 */
export class Feed<P extends Piece> {
  readonly #read: (after: bigint) => Promise<P>;
  readonly #polling: NodeJS.Timeout;
  readonly #watchers = new Set<() => void>();
  /** Reads that have not begun yet, by the number they start from. */
  readonly #next = new Map<bigint, Promise<P>>();
  #reading: Promise<unknown> = Promise.resolve();

  /**
   * @param read reads the rows after a number
   * @param pollMs interval of wake-ups without a notification
   */
  constructor(read: (after: bigint) => Promise<P>, pollMs: number = POLL_MS) {
    this.#read = read;
    this.#polling = setInterval(() => this.wake(), pollMs);
  }

  /** Calls `wake` when there may be new rows. @returns stops it */
  watch(wake: () => void): () => void {
    this.#watchers.add(wake);
    return () => this.#watchers.delete(wake);
  }

  /** Wakes the watchers: there are new rows. */
  wake(): void {
    for (const wake of this.#watchers) wake();
  }

  /**
   * Reads the rows after a number, by a query that begins after this call. Concurrent calls for the same number
   * share one query.
   */
  read(after: bigint): Promise<P> {
    const waiting = this.#next.get(after);
    if (waiting !== undefined) return waiting;
    const read = this.#reading.then(() => {
      this.#next.delete(after);
      return this.#read(after);
    });
    this.#next.set(after, read);
    this.#reading = read.catch(() => {});
    return read;
  }

  /**
   * Yields the rows after a number, and new ones as they come, until the signal is aborted. Rejects as `read`
   * does.
   *
   * @param greets whether it yields a first piece at once, even without new rows
   */
  async *follow(after: bigint, signal: AbortSignal, greets = false): AsyncGenerator<P> {
    let isAwake = true;
    let resolve: () => void = () => {};
    const wake = () => {
      isAwake = true;
      resolve();
    };
    const stopWatching = this.watch(wake);
    signal.addEventListener("abort", wake, { once: true });
    let isFirst = greets;
    try {
      for (let known = after; !signal.aborted; ) {
        if (!isAwake) {
          await new Promise<void>((done) => {
            resolve = done;
          });
          continue;
        }
        isAwake = false;
        const piece = await this.read(known);
        if (piece.number === known && !isFirst) continue;
        isFirst = false;
        known = piece.number;
        // There may be more rows than one read returns.
        isAwake = true;
        yield piece;
      }
    } finally {
      stopWatching();
      signal.removeEventListener("abort", wake);
    }
  }

  close(): void {
    clearInterval(this.#polling);
  }
}
