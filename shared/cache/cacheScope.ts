import type { Moment } from "../runtime/clocks.ts";
import type { Change, Changes } from "./changes.ts";
import { type Flight, startFlight } from "./flights.ts";
import type { Answer, CacheStats, Entry } from "./responseCache.ts";

/** Where entries are kept, and what is counted of them. */
export interface Shelf {
  read(key: string): Entry | undefined;
  keep(key: string, entry: Entry): void;
  count(what: keyof Pick<CacheStats, "hits" | "stale" | "misses">): void;
  nextOrder(): number;
  now(): Moment;
}

/** Longest time that a stale answer is validated beside the calls, in ms. */
const REFRESH_LIMIT_MS = 30_000;
/** Longest time that any fetch takes: it ends before, when nobody waits for it any more. */
export const FLIGHT_LIMIT_MS = 300_000;
/** Who asks later than this after a fetch has begun makes one of his own: that one may be stuck. */
const JOIN_MS = 2000;

/** What a fetch brought. */
export interface Fetched {
  readonly answer: Answer;
  /** Whether it may be kept, and given to others who ask the same. Otherwise it is for its own caller. */
  readonly isShared: boolean;
}

/** Asks for an answer. */
export type Fetch = (how: {
  /** What is kept, fit to be validated (`if-none-match`). */
  readonly known: Entry | undefined;
  readonly signal: AbortSignal;
}) => Promise<Fetched>;

/** A question. */
export interface Question {
  /** Everything that the answer depends on. */
  readonly key: string;
  /** The change that the answer must be as new as. */
  readonly needs: bigint;
  /** Every change up to this one will be in an answer that is fetched from now on. */
  readonly position: bigint;
  /** What the answer will show, where that is known before; undefined: anything. */
  readonly resources?: readonly string[] | undefined;
  /** The answer must have been asked for after this (`no-cache`, RFC 9111 section 5.2.1.4). */
  readonly fresh?: boolean;
  /** The caller's: aborted when he waits no more. */
  signal(): AbortSignal | undefined;
  readonly fetch: Fetch;
  /** Makes the fetch that validates a stale answer beside the call; undefined: there is no room for one. */
  readonly refresh: () => Fetch | undefined;
}

/** An answer, and how old it is, in ms. */
export interface Found {
  readonly answer: Answer;
  readonly ageMs: number;
  /** Every change up to this one is in it. */
  readonly position: bigint;
  /** It was fetched for this call. */
  readonly isOwn: boolean;
}

/** A flight, and when its answer was asked for. */
interface UnderWay {
  readonly flight: Flight<Fetched>;
  readonly askedAt: Moment;
  readonly position: bigint;
  readonly era: number;
  readonly resources: readonly string[] | undefined;
}

/** The part of a cache that is of one service: what is kept of it, asked for, and known to have changed. */
export class CacheScope {
  readonly #name: string;
  readonly #changes: Changes;
  readonly #shelf: Shelf;
  readonly #underWay = new Map<string, UnderWay>();
  readonly #refreshing = new Set<string>();

  constructor(name: string, changes: Changes, shelf: Shelf) {
    this.#name = name;
    this.#changes = changes;
    this.#shelf = shelf;
  }

  /** Every change up to this one was heard of. 0: none is, so far. */
  get position(): bigint {
    return this.#changes.position;
  }

  /** The newest change that anybody has told of. */
  get seen(): bigint {
    return this.#changes.seen;
  }

  /** Notes that there is a change of this number: from now on `seen` is no less. */
  see(number: bigint): void {
    this.#changes.see(number);
  }

  /**
   * Takes over what the service's feed says, which must follow on `position`: answers that show what has
   * changed are used no more, whether they are kept or still on their way.
   *
   * @param number every change up to here is among those given, or was heard of before
   */
  hear(number: bigint, changes: readonly Change[]): void {
    this.#changes.hear(number, changes);
  }

  /** How often everything was dropped. */
  get era(): number {
    return this.#changes.era;
  }

  /**
   * Drops everything: a change that was made when others were known has a number that is not above theirs, so
   * theirs are of a database that has been set back.
   */
  setBack(number: bigint): void {
    this.#changes.setBack(number);
  }

  /** Drops everything, and goes on from here: changes before this one were missed. */
  reset(number: bigint): void {
    this.#changes.reset(number);
  }

  /**
   * Answers from what is kept, or by a fetch: one for all who ask the same at the same time. Who waits for
   * another's fetch gives up when his own signal is aborted; he whose question began one waits until it ends,
   * so that his place on the server is taken for as long as there is work.
   */
  async ask(question: Question): Promise<Found> {
    const key = `${this.#name}\n${question.key}`;
    // Of the same moment as the position: what it says of an answer is so in this era alone.
    const { era } = this.#changes;
    const kept = this.#shelf.read(key);
    if (kept !== undefined && question.fresh !== true && this.#allows(kept, question.needs)) {
      const ageMs = this.#ageMs(kept);
      const { maxAgeMs, staleMs } = kept.lifetime;
      if (ageMs < maxAgeMs) {
        this.#shelf.count("hits");
        return { answer: kept, ageMs, position: this.#effective(kept), isOwn: false };
      }
      if (ageMs < maxAgeMs + staleMs) {
        this.#shelf.count("stale");
        this.#refresh(key, question);
        return { answer: kept, ageMs, position: this.#effective(kept), isOwn: false };
      }
    }
    this.#shelf.count("misses");
    const underWay = question.fresh ? undefined : this.#underWay.get(key);
    if (
      underWay !== undefined &&
      this.#elapsedMs(underWay.askedAt) < JOIN_MS &&
      this.#allows(underWay, question.needs)
    ) {
      const { answer, isShared } = await underWay.flight.join(question.signal());
      const { ageMs, position } = answer;
      if (isShared) return { answer, ageMs, position, isOwn: false };
    }
    const flight = this.#start(key, question, era, question.fetch, FLIGHT_LIMIT_MS);
    void flight.join(question.signal());
    const { answer } = await flight.result;
    return { answer, ageMs: answer.ageMs, position: answer.position, isOwn: true };
  }

  /** What is still good is as new as what was heard of. */
  #effective({ position }: Entry): bigint {
    return position > this.#changes.position ? position : this.#changes.position;
  }

  #allows(answer: Pick<Entry, "position" | "era" | "resources">, needs: bigint): boolean {
    return this.#changes.allow(answer, answer.resources, needs);
  }

  #ageMs({ ageMs, askedAt }: Entry): number {
    return ageMs + this.#elapsedMs(askedAt);
  }

  /** By the clock that went on further: one may have been set back, the other have stood still. */
  #elapsedMs(since: Moment): number {
    const { wall, monotonic } = this.#shelf.now();
    return Math.max(wall - since.wall, monotonic - since.monotonic, 0);
  }

  /** Fetches, from now on also for others who ask the same, and keeps what comes. */
  #start(
    key: string,
    { position, resources, fresh }: Question,
    era: number,
    fetch: Fetch,
    limitMs: number,
  ): Flight<Fetched> {
    const askedAt = this.#shelf.now();
    const order = this.#shelf.nextOrder();
    const known = this.#shelf.read(key);
    const flight = startFlight(async (signal) => {
      const fetched = await fetch({ known, signal });
      if (fetched.isShared) this.#keep(key, { ...fetched.answer, askedAt, order, era });
      return fetched;
    }, limitMs);
    if (fresh) return flight;
    const underWay = { flight, askedAt, position, era, resources };
    this.#underWay.set(key, underWay);
    const end = () => {
      if (this.#underWay.get(key) === underWay) this.#underWay.delete(key);
    };
    flight.signal.addEventListener("abort", end, { once: true });
    flight.result.then(end, end);
    return flight;
  }

  #keep(key: string, entry: Entry): void {
    const { maxAgeMs, staleMs } = entry.lifetime;
    // What is of no use to anybody is not kept; what can be validated, by its ETag, is.
    if (maxAgeMs + staleMs <= 0 && entry.etag === "") return;
    if (!this.#allows(entry, 0n)) return;
    const kept = this.#shelf.read(key);
    // The answer to a later question is there already.
    if (kept !== undefined && kept.era === entry.era && kept.order > entry.order) return;
    this.#shelf.keep(key, entry);
  }

  #refresh(key: string, question: Question): void {
    if (this.#refreshing.has(key)) return;
    const fetch = question.refresh();
    if (fetch === undefined) return;
    this.#refreshing.add(key);
    const flight = this.#start(key, question, this.era, fetch, REFRESH_LIMIT_MS);
    // It goes on, whoever joins it and gives up.
    void flight.join(undefined);
    // What fails leaves the old one until its time is over.
    const end = () => this.#refreshing.delete(key);
    flight.result.then(end, end);
  }
}
