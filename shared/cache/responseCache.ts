import { LRUCache } from "lru-cache";
import { type Clocks, type Moment, moment, systemClocks } from "../runtime/clocks.ts";
import { CacheScope } from "./cacheScope.ts";
import { Changes } from "./changes.ts";

/** Options of a response cache. */
export interface ResponseCacheOptions {
  /**
   * Most memory that cached responses take, with their keys, in bytes. The names of up to 10,000 changed
   * resources of each service are stored besides.
   */
  maxBytes: number;
  clocks?: Clocks;
}

/** Counters of a cache since it was made, and its current size. */
export interface CacheStats {
  /** Lookups that got a fresh response. */
  readonly hits: number;
  /** Lookups that got a stale response while a newer one was fetched (RFC 5861). */
  readonly stale: number;
  /** Lookups that found no usable response. */
  readonly misses: number;
  readonly bytes: number;
  readonly entries: number;
}

/** How long a response may be used (RFC 9111 section 4.2), in ms. */
export interface Lifetime {
  readonly maxAgeMs: number;
  readonly staleMs: number;
}

/** A response that can be cached. */
export interface CachedResponse {
  readonly bytes: Buffer;
  readonly etag: string;
  readonly cacheControl: string;
  readonly lifetime: Lifetime;
  /** The names of the resources that it shows; undefined: all of its service. */
  readonly resources: readonly string[] | undefined;
  /** It contains every change up to this one. */
  readonly position: bigint;
  /** Its age when it was requested, in ms. */
  readonly ageMs: number;
}

/** A response in the cache. */
export interface Entry extends CachedResponse {
  readonly askedAt: Moment;
  /** Grows by one with each fetch. */
  readonly order: number;
  readonly era: number;
}

/** Estimated memory of an entry besides its key and its bytes. */
const OVERHEAD_BYTES = 512;
/** One response takes no more than a sixteenth of the cache. */
const LARGEST_PART = 16;
/** Longer keys are not cached: a few huge keys could evict many entries. */
const LONGEST_KEY = 8192;

/**
 * Caches responses in memory, up to a bound, and evicts the least recently used first. A response larger than
 * a sixteenth of the bound is not cached, nor is one whose key is longer than 8 KiB. One cache can serve all
 * clients of a process, or each caller's clients, and any number of services.
 */
export class ResponseCache {
  readonly #entries: LRUCache<string, Entry>;
  readonly #scopes = new Map<string, CacheScope>();
  readonly #clocks: Clocks;
  readonly #counts = { hits: 0, stale: 0, misses: 0 };
  #order = 0;

  /** @throws Error when `maxBytes` is not a whole number above 0 */
  constructor({ maxBytes, clocks = systemClocks }: ResponseCacheOptions) {
    if (!Number.isSafeInteger(maxBytes) || maxBytes < 1) {
      throw new Error(`maxBytes is ${maxBytes}: expected a whole number above 0`);
    }
    this.#clocks = clocks;
    this.#entries = new LRUCache({
      maxSize: maxBytes,
      maxEntrySize: Math.max(1, Math.floor(maxBytes / LARGEST_PART)),
      sizeCalculation: sizeOf,
    });
  }

  get stats(): CacheStats {
    return {
      ...this.#counts,
      bytes: this.#entries.calculatedSize,
      entries: this.#entries.size,
    };
  }

  /**
   * Returns the share of one service at one target. The same name returns the same scope.
   *
   * @param name a service's full name; on a client, with its target before it
   */
  scope(name: string): CacheScope {
    let scope = this.#scopes.get(name);
    if (scope === undefined) {
      scope = new CacheScope(name, new Changes(), {
        read: (key) => this.#entries.get(key),
        store: (key, entry) => {
          if (key.length > LONGEST_KEY) return;
          this.#entries.set(key, { ...entry, bytes: ownMemory(entry.bytes) });
        },
        count: (what) => {
          this.#counts[what] += 1;
        },
        nextOrder: () => ++this.#order,
        now: () => moment(this.#clocks),
      });
      this.#scopes.set(name, scope);
    }
    return scope;
  }
}

/** Copies a slice: it would hold the whole buffer that it was cut from in memory. */
function ownMemory(bytes: Buffer): Buffer {
  if (bytes.length === bytes.buffer.byteLength) return bytes;
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(copy);
  return copy;
}

function sizeOf({ bytes, resources, etag, cacheControl }: Entry, key: string): number {
  const names = resources?.reduce((sum, name) => sum + name.length + 16, 0) ?? 0;
  return OVERHEAD_BYTES + key.length + bytes.length + etag.length + cacheControl.length + names;
}
