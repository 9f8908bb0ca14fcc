import { LRUCache } from "lru-cache";
import { type Clocks, type Moment, moment, systemClocks } from "../runtime/clocks.ts";
import { CacheScope } from "./cacheScope.ts";
import { Changes } from "./changes.ts";

/** How a cache is set up. */
export interface ResponseCacheOptions {
  /**
   * Most memory that answers take: keys, bytes, and what is noted of each. Besides, the names of up to 10,000
   * changed resources are remembered of each service.
   */
  maxBytes: number;
  clocks?: Clocks;
}

/** What a cache has done since it was made. */
export interface CacheStats {
  /** Calls that were answered by a fresh answer. */
  readonly hits: number;
  /** Calls that were answered by a stale one, while a newer one was fetched (RFC 5861). */
  readonly stale: number;
  /** Calls that nothing kept was good for. */
  readonly misses: number;
  /** What is kept now, in bytes and in answers. */
  readonly bytes: number;
  readonly entries: number;
}

/** How long an answer may be used (RFC 9111 section 4.2), in ms. */
export interface Lifetime {
  readonly maxAgeMs: number;
  readonly staleMs: number;
}

/** An answer as it may be kept. */
export interface Answer {
  readonly bytes: Buffer;
  readonly etag: string;
  readonly cacheControl: string;
  readonly lifetime: Lifetime;
  /** The names of the resources that it shows; undefined: it shows everything of its service. */
  readonly resources: readonly string[] | undefined;
  /** Every change up to this one is in it. */
  readonly position: bigint;
  /** How old it was when it was asked for, in ms. */
  readonly ageMs: number;
}

/** An answer that is kept, and since when. */
export interface Entry extends Answer {
  readonly askedAt: Moment;
  /** Grows by one with each fetch. */
  readonly order: number;
  readonly era: number;
}

/** What V8 and the list of entries take for an entry besides its key and its bytes, roughly. */
const OVERHEAD_BYTES = 512;
/** One answer takes no more than this part of all. */
const LARGEST_PART = 16;
/** Nobody asks twice what takes so long to ask: one who makes up questions would drive out much by few. */
const LONGEST_KEY = 8192;

/**
 * Answers in memory, within a bound: the least recently used go first. One that takes more than a
 * sixteenth of the bound is not kept, nor is one to a question of more than 8 KiB. Give each caller's clients a
 * cache of their own, or one to all clients of a process; give it to as many services as you like.
 */
export class ResponseCache {
  readonly #entries: LRUCache<string, Entry>;
  readonly #scopes = new Map<string, CacheScope>();
  readonly #clocks: Clocks;
  readonly #counts = { hits: 0, stale: 0, misses: 0 };
  #order = 0;

  /** @throws Error when `maxBytes` is no whole number above 0 */
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
   * The part of one service, as one target answers for it: one and the same for the same name.
   *
   * @param name a service's full name; on a client, with its target before it
   */
  scope(name: string): CacheScope {
    let scope = this.#scopes.get(name);
    if (scope === undefined) {
      scope = new CacheScope(name, new Changes(), {
        read: (key) => this.#entries.get(key),
        keep: (key, entry) => {
          if (key.length > LONGEST_KEY) return;
          this.#entries.set(key, { ...entry, bytes: apart(entry.bytes) });
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

/** In memory of their own: a slice keeps all that it was cut from. */
function apart(bytes: Buffer): Buffer {
  if (bytes.length === bytes.buffer.byteLength) return bytes;
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(copy);
  return copy;
}

function sizeOf({ bytes, resources, etag, cacheControl }: Entry, key: string): number {
  const names = resources?.reduce((sum, name) => sum + name.length + 16, 0) ?? 0;
  return OVERHEAD_BYTES + key.length + bytes.length + etag.length + cacheControl.length + names;
}
