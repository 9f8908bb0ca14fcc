/** Takes turns: for each key one holder at a time, in the order of asking. */
export class KeyedQueue {
  readonly #queues = new Map<string, (() => void)[]>();

  /**
   * Asks for the turn.
   *
   * @param begin called when it has come, at once where nobody holds it
   * @returns gives the turn back, or the place in the queue when the turn has not come yet
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
