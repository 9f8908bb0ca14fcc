import type { Revocations as Piece, Revocation } from "../../../proto/gen/waybill/keys/v1/keys.ts";
import { Errors } from "../../errors.ts";
import { type Clocks, type Moment, moment, systemClocks } from "../../runtime/clocks.ts";
import { wholeNumber } from "../../runtime/wholeNumber.ts";

/** The ids by which a token or a waybill can be revoked. */
export interface Revocable {
  readonly subject: string;
  readonly epoch: number;
  /** UUID of the sign-in; undefined without one. */
  readonly family?: string | undefined;
  /** `jti` of an access token. */
  readonly token?: string | undefined;
  /** UUID of a session. */
  readonly session?: string | undefined;
}

/** Bounds of a replica's revocations. */
export interface RevocationsOptions {
  /** Largest age of the last poll, in ms; past it protected calls are refused. Default: 30 s. */
  boundMs?: number;
  /** Most entries; with more, protected calls are refused. Default: 1,000,000. */
  maxEntries?: number;
  /** For tests. */
  clocks?: Clocks;
}

/** Entries stay 1% longer than their lifetime: clocks run at slightly different rates. */
const MARGIN = 1.01;

/**
 * A replica's copy of the revocations, with lookup in constant time. Entries expire by the replica's monotonic clock
 * from their arrival, so no other clock is trusted. The age of the copy is measured by the wall clock, too, which
 * advances while the machine sleeps.
 */
export class Revocations {
  readonly #boundMs: number;
  readonly #maxEntries: number;
  readonly #clocks: Clocks;
  readonly #epochs = new Map<string, { epoch: number; until: number }>();
  readonly #ids = new Map<string, number>();
  #number = 0n;
  #freshAt: Moment = { monotonic: Number.NEGATIVE_INFINITY, wall: Number.NEGATIVE_INFINITY };
  #sweepAt = 0;
  #isUnderstood = true;

  /** @throws Error naming the option that is not a whole number above 0 */
  constructor(options: RevocationsOptions = {}) {
    this.#boundMs = wholeNumber("Revocations: boundMs", options.boundMs ?? 30_000);
    this.#maxEntries = wholeNumber("Revocations: maxEntries", options.maxEntries ?? 1_000_000);
    this.#clocks = options.clocks ?? systemClocks;
  }

  /** Every entry of the feed up to this number was applied. */
  get number(): bigint {
    return this.#number;
  }

  get size(): number {
    return this.#epochs.size + this.#ids.size;
  }

  /**
   * Applies a piece of the feed.
   *
   * @returns false when there is a gap before it: nothing was applied, fetch from `number`
   */
  apply(piece: Piece): boolean {
    if (piece.afterNumber > this.#number) return false;
    for (const each of piece.revocations) this.#add(each);
    if (piece.number > this.#number) this.#number = piece.number;
    this.#sweep();
    return true;
  }

  /** Records that a poll sent at `sentAt` was applied: every earlier revocation is known. */
  fresh(sentAt: Moment): void {
    if (sentAt.monotonic >= this.#freshAt.monotonic) this.#freshAt = sentAt;
  }

  /** @throws StatusError REVOCATIONS_STALE */
  assertFresh(): void {
    const now = moment(this.#clocks);
    const { monotonic, wall } = this.#freshAt;
    // A wall clock that was set back does not make the copy younger.
    const ageMs = Math.max(now.monotonic - monotonic, now.wall - wall);
    if (ageMs <= this.#boundMs && this.size <= this.#maxEntries && this.#isUnderstood) return;
    const cause = this.#isUnderstood
      ? `${this.size} revocations, last poll ${ageMs} ms ago`
      : "the feed has a revocation of an unknown kind: upgrade this replica";
    throw Errors.REVOCATIONS_STALE({ cause, retryAfterMs: 1000 });
  }

  /** Returns whether a token or waybill is revoked. */
  has({ subject, epoch, family, token, session }: Revocable): boolean {
    const least = this.#epochs.get(subject);
    return (
      (least !== undefined && epoch < least.epoch) ||
      (family !== undefined && this.#ids.has(`family/${family}`)) ||
      (token !== undefined && this.#ids.has(`token/${token}`)) ||
      (session !== undefined && this.#ids.has(`session/${session}`))
    );
  }

  #add({ target, ttl }: Revocation): void {
    const until = this.#clocks.monotonic() + Number(ttl?.seconds ?? 0n) * 1000 * MARGIN;
    switch (target?.$case) {
      case "subjectEpoch": {
        const { subject, epoch } = target.value;
        const before = this.#epochs.get(subject);
        this.#epochs.set(subject, {
          epoch: Math.max(epoch, before?.epoch ?? 0),
          until: Math.max(until, before?.until ?? 0),
        });
        break;
      }
      case "family":
      case "token":
      case "session": {
        const id = target.$case === "session" ? target.value.id : target.value;
        const key = `${target.$case}/${id}`;
        this.#ids.set(key, Math.max(until, this.#ids.get(key) ?? 0));
        break;
      }
      default:
        // A newer key service revokes by an id that this version does not know.
        this.#isUnderstood = false;
    }
  }

  /** Drops expired entries, once a minute. */
  #sweep(): void {
    const now = this.#clocks.monotonic();
    if (now < this.#sweepAt) return;
    this.#sweepAt = now + 60_000;
    for (const [subject, { until }] of this.#epochs) if (until < now) this.#epochs.delete(subject);
    for (const [id, until] of this.#ids) if (until < now) this.#ids.delete(id);
  }
}
