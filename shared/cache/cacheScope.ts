import type { Moment } from "../runtime/clocks.ts";
import type { Change, Changes } from "./changes.ts";
import { type Flight, startFlight } from "./flights.ts";
import type { CachedResponse, CacheStats, Entry } from "./responseCache.ts";

/** Stores a cache's entries and counters. */
export interface Shelf {
  read(key: string): Entry | undefined;
  store(key: string, entry: Entry): void;
  count(what: keyof Pick<CacheStats, "hits" | "stale" | "misses">): void;
  nextOrder(): number;
  now(): Moment;
}

/** Deadline of a background revalidation of a stale response, in ms. */
const REFRESH_LIMIT_MS = 30_000;
/** Deadline of any other fetch, in ms. It is aborted earlier when its last waiter cancels. */
export const FLIGHT_LIMIT_MS = 300_000;
/** Lookups join a fetch that is at most this old, in ms: an older one may be stuck. */
const JOIN_MS = 2000;

/** The result of a fetch. */
export interface Fetched {
  readonly response: CachedResponse;
  /** True if it may be cached and shared with other callers. Otherwise it is for its own caller. */
  readonly isShared: boolean;
}

/** Fetches a response. */
export type Fetch = (how: {
  /** The cached response, which the fetch can validate (`if-none-match`). */
  readonly known: Entry | undefined;
  readonly signal: AbortSignal;
}) => Promise<Fetched>;

/** One call's request to the cache. */
export interface Lookup {
  /** Everything that the response depends on. */
  readonly key: string;
  /** The change that the response must be as new as. */
  readonly needs: bigint;
  /** A response that is fetched from now on contains every change up to this one. */
  readonly position: bigint;
  /** The resources that the response will show; undefined: any. */
  readonly resources?: readonly string[] | undefined;
  /** Fetches a new response (`no-cache`, RFC 9111 section 5.2.1.4). */
  readonly fresh?: boolean;
  /** Returns the caller's signal, aborted when the caller cancels. */
  signal(): AbortSignal | undefined;
  readonly fetch: Fetch;
  /** Makes the fetch that validates a stale response in the background; undefined: shed for lack of capacity. */
  readonly refresh: () => Fetch | undefined;
}

/** A response from the cache or from a fetch, and its age in ms. */
export interface Found {
  readonly response: CachedResponse;
  readonly ageMs: number;
  /** It contains every change up to this one. */
  readonly position: bigint;
  /** True if it was fetched for this call. */
  readonly isOwn: boolean;
}

/** A fetch in flight. */
interface InFlight {
  readonly flight: Flight<Fetched>;
  readonly askedAt: Moment;
  readonly position: bigint;
  readonly era: number;
  readonly resources: readonly string[] | undefined;
}

/** The share of a cache that belongs to one service: entries, fetches in flight, and known changes. */
export class CacheScope {
  readonly #name: string;
  readonly #changes: Changes;
  readonly #shelf: Shelf;
  readonly #inFlight = new Map<string, InFlight>();
  readonly #refreshing = new Set<string>();

  constructor(name: string, changes: Changes, shelf: Shelf) {
    this.#name = name;
    this.#changes = changes;
    this.#shelf = shelf;
  }

  /** Every change up to this one was received from the feed. 0: none yet. */
  get position(): bigint {
    return this.#changes.position;
  }

  /** The newest change that the feed or a response has named. */
  get seen(): bigint {
    return this.#changes.seen;
  }

  /** Records that a change of this number exists. */
  see(number: bigint): void {
    this.#changes.see(number);
  }

  /**
   * Applies changes from the service's feed, in its order from `position`. Responses that show a changed
   * resource are no longer used, whether they are cached or in flight.
   *
   * @param number every change up to this one is in `changes` or was applied before
   */
  apply(number: bigint, changes: readonly Change[]): void {
    this.#changes.apply(number, changes);
  }

  /** Grows by one each time the scope is emptied. */
  get era(): number {
    return this.#changes.era;
  }

  /**
   * Empties the scope, because a new change has a number that is not above the known ones: the service's
   * database was restored to an earlier state.
   */
  setBack(number: bigint): void {
    this.#changes.setBack(number);
  }

  /** Empties the scope and continues from this number: earlier changes were missed. */
  reset(number: bigint): void {
    this.#changes.reset(number);
  }

  /**
   * Returns a cached response or fetches one, with a single fetch for concurrent lookups of one key. A caller
   * that joins another caller's fetch stops waiting when its own signal is aborted. The caller whose lookup
   * began the fetch waits until it ends, so that its place on the server stays taken while there is work.
   */
  async get(lookup: Lookup): Promise<Found> {
    const key = `${this.#name}\n${lookup.key}`;
    // Read together with the position, whose numbers are valid in this era only.
    const { era } = this.#changes;
    const cached = this.#shelf.read(key);
    if (cached !== undefined && lookup.fresh !== true && this.#allows(cached, lookup.needs)) {
      const ageMs = this.#ageMs(cached);
      const { maxAgeMs, staleMs } = cached.lifetime;
      if (ageMs < maxAgeMs + staleMs) {
        const isFresh = ageMs < maxAgeMs;
        this.#shelf.count(isFresh ? "hits" : "stale");
        if (!isFresh) this.#refresh(key, lookup);
        return { response: cached, ageMs, position: this.#effective(cached), isOwn: false };
      }
    }
    this.#shelf.count("misses");
    const inFlight = lookup.fresh ? undefined : this.#inFlight.get(key);
    if (
      inFlight !== undefined &&
      this.#elapsedMs(inFlight.askedAt) < JOIN_MS &&
      this.#allows(inFlight, lookup.needs)
    ) {
      const { response, isShared } = await inFlight.flight.join(lookup.signal());
      const { ageMs, position } = response;
      if (isShared) return { response, ageMs, position, isOwn: false };
    }
    const flight = this.#start(key, lookup, era, lookup.fetch, FLIGHT_LIMIT_MS);
    void flight.join(lookup.signal());
    const { response } = await flight.result;
    return { response, ageMs: response.ageMs, position: response.position, isOwn: true };
  }

  /** A response that is still valid is as new as the last change received. */
  #effective({ position }: Entry): bigint {
    return position > this.#changes.position ? position : this.#changes.position;
  }

  #allows(response: Pick<Entry, "position" | "era" | "resources">, needs: bigint): boolean {
    return this.#changes.allow(response, response.resources, needs);
  }

  #ageMs({ ageMs, askedAt }: Entry): number {
    return ageMs + this.#elapsedMs(askedAt);
  }

  /** Uses the clock that advanced further: the wall clock can be set back, the monotonic one can pause. */
  #elapsedMs(since: Moment): number {
    const { wall, monotonic } = this.#shelf.now();
    return Math.max(wall - since.wall, monotonic - since.monotonic, 0);
  }

  /** Starts a fetch that other lookups can join, and caches its response. */
  #start(
    key: string,
    { position, resources, fresh }: Lookup,
    era: number,
    fetch: Fetch,
    limitMs: number,
  ): Flight<Fetched> {
    const askedAt = this.#shelf.now();
    const order = this.#shelf.nextOrder();
    const known = this.#shelf.read(key);
    const flight = startFlight(async (signal) => {
      const fetched = await fetch({ known, signal });
      if (fetched.isShared) this.#store(key, { ...fetched.response, askedAt, order, era });
      return fetched;
    }, limitMs);
    if (fresh) return flight;
    const inFlight = { flight, askedAt, position, era, resources };
    this.#inFlight.set(key, inFlight);
    const end = () => {
      if (this.#inFlight.get(key) === inFlight) this.#inFlight.delete(key);
    };
    flight.signal.addEventListener("abort", end, { once: true });
    flight.result.then(end, end);
    return flight;
  }

  #store(key: string, entry: Entry): void {
    const { maxAgeMs, staleMs } = entry.lifetime;
    // Without a lifetime it can only be validated, by its ETag.
    if (maxAgeMs + staleMs <= 0 && entry.etag === "") return;
    if (!this.#allows(entry, 0n)) return;
    const cached = this.#shelf.read(key);
    // A fetch that began later has already stored its response.
    if (cached !== undefined && cached.era === entry.era && cached.order > entry.order) return;
    this.#shelf.store(key, entry);
  }

  #refresh(key: string, lookup: Lookup): void {
    if (this.#refreshing.has(key)) return;
    const fetch = lookup.refresh();
    if (fetch === undefined) return;
    this.#refreshing.add(key);
    const flight = this.#start(key, lookup, this.era, fetch, REFRESH_LIMIT_MS);
    // The refresh continues even if every waiter cancels.
    void flight.join(undefined);
    // A failed refresh leaves the stale response until it expires.
    const end = () => this.#refreshing.delete(key);
    flight.result.then(end, end);
  }
}
