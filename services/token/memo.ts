import { LRUCache } from "lru-cache";

/** Most responses that are cached. */
const MAX_ENTRIES = 10_000;

/**
 * Caches another service's responses for a short while, also that something does not exist. Callers that
 * ask for the same key at once share one request, which no other key can evict.
 */
export class Memo<Value> {
  readonly #ask: (key: string) => Promise<Value>;
  readonly #isGood: (value: Value) => boolean;
  readonly #entries: LRUCache<string, { readonly value: Value }>;
  readonly #asking = new Map<string, Promise<Value>>();

  /** @param isGood whether a cached response may still be used; checked each time */
  constructor(
    ask: (key: string) => Promise<Value>,
    lifeMs: number,
    isGood: (value: Value) => boolean = () => true,
  ) {
    this.#ask = ask;
    this.#isGood = isGood;
    this.#entries = new LRUCache({ max: MAX_ENTRIES, ttl: lifeMs });
  }

  /** The response at once where it is cached, and otherwise a promise of it. */
  get(key: string): Value | Promise<Value> {
    const entry = this.#entries.get(key);
    if (entry !== undefined && this.#isGood(entry.value)) return entry.value;
    let asking = this.#asking.get(key);
    if (asking === undefined) {
      asking = this.#askAndCache(key).finally(() => this.#asking.delete(key));
      this.#asking.set(key, asking);
    }
    return asking;
  }

  async #askAndCache(key: string): Promise<Value> {
    // The age of a response counts from the call, not from the response.
    const start = performance.now();
    const value = await this.#ask(key);
    this.#entries.set(key, { value }, { start });
    return value;
  }
}
