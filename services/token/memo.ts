interface Entry<Value> {
  readonly value: Value;
  readonly until: number;
}

const MAX_ENTRIES = 10_000;

/**
 * Keeps answers of another service for a short while. Those who ask for the same meanwhile share the
 * question; how many answers are kept is bounded.
 */
export class Memo<Value> {
  readonly #ask: (key: string) => Promise<Value>;
  readonly #lifeMs: number;
  readonly #isGood: (value: Value) => boolean;
  readonly #entries = new Map<string, Entry<Value>>();
  readonly #asking = new Map<string, Promise<Value>>();

  /** @param isGood whether an answer may still be used; looked at each time */
  constructor(
    ask: (key: string) => Promise<Value>,
    lifeMs: number,
    isGood: (value: Value) => boolean = () => true,
  ) {
    this.#ask = ask;
    this.#lifeMs = lifeMs;
    this.#isGood = isGood;
  }

  /** The answer at once where it is known, and otherwise a promise of it. */
  get(key: string): Value | Promise<Value> {
    const entry = this.#entries.get(key);
    if (entry !== undefined && performance.now() < entry.until && this.#isGood(entry.value)) {
      return entry.value;
    }
    let asking = this.#asking.get(key);
    if (asking === undefined) {
      asking = this.#askAndKeep(key).finally(() => this.#asking.delete(key));
      this.#asking.set(key, asking);
    }
    return asking;
  }

  async #askAndKeep(key: string): Promise<Value> {
    const until = performance.now() + this.#lifeMs;
    const value = await this.#ask(key);
    if (this.#entries.size >= MAX_ENTRIES) {
      const oldest = this.#entries.keys().next();
      if (!oldest.done) this.#entries.delete(oldest.value);
    }
    this.#entries.set(key, { value, until });
    return value;
  }
}
