/** How often watchers are woken though nothing was heard of, in ms. */
const POLL_MS = 1000;

/** What a feed has after a number. */
export interface Piece {
  /** All up to this one is in it, or was known before. */
  readonly number: bigint;
}

/**
 * A feed of numbered rows, as one replica of its service hands it out. It holds nothing: each answer comes from
 * Postgres. Watchers are woken when there is more, and once a second in case nobody said so.
 */
export class Feed<P extends Piece> {
  readonly #read: (after: bigint) => Promise<P>;
  readonly #polling: NodeJS.Timeout;
  readonly #watchers = new Set<() => void>();
  /** Reads that have not begun yet, by the number they start from. */
  readonly #next = new Map<bigint, Promise<P>>();
  #reading: Promise<unknown> = Promise.resolve();

  /**
   * @param read reads what comes after a number
   * @param pollMs how often watchers are woken though nothing was heard of
   */
  constructor(read: (after: bigint) => Promise<P>, pollMs: number = POLL_MS) {
    this.#read = read;
    this.#polling = setInterval(() => this.wake(), pollMs);
  }

  /** Calls `wake` whenever there may be more; ends with the function returned. */
  watch(wake: () => void): () => void {
    this.#watchers.add(wake);
    return () => this.#watchers.delete(wake);
  }

  /** Says that there is more. */
  wake(): void {
    for (const wake of this.#watchers) wake();
  }

  /**
   * What comes after a number, from a read of Postgres that begins after this call. Those who ask
   * for the same while another read is under way share the next one.
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
   * What comes after a number, and whatever comes after that, until the signal is aborted. Rejects as `read`
   * does.
   *
   * @param greets whether there is a first piece at once, also when nothing is new
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
        // There may be more than one answer holds.
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
