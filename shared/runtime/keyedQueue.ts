/** A first-in, first-out lock for each key. */
export class KeyedQueue {
  readonly #queues = new Map<string, (() => void)[]>();

  /**
   * Queues for the lock of a key.
   *
   * @param begin called when the lock is acquired; at once if it is free
   * @returns releases the lock, or leaves the queue
   */
  take(key: string, begin: () => void): () => void {
    const queue = this.#queues.get(key);
    if (queue === undefined) {
      this.#queues.set(key, [begin]);
      begin();
    } else {
      queue.push(begin);
    }
    let given = false;
    return () => {
      if (given) return;
      given = true;
      this.#leave(key, begin);
    };
  }

  #leave(key: string, begin: () => void): void {
    const queue = this.#queues.get(key) ?? [];
    const held = queue[0] === begin;
    queue.splice(queue.indexOf(begin), 1);
    if (queue.length === 0) this.#queues.delete(key);
    else if (held) queue[0]!();
  }
}
