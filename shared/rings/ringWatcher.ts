import { setTimeout as delay } from "node:timers/promises";
import { Metadata } from "@grpc/grpc-js";
import type { Logger } from "pino";
import { KeysServiceService } from "../../proto/gen/waybill/keys/v1/keys.ts";
import { assertService } from "../auth/credentials/assertion.ts";
import type { Credentials } from "../auth/credentials/credentials.ts";
import { type ClientOptions, createClient, type ServiceClient } from "../client/client.ts";
import { Errors } from "../errors.ts";
import { type Clocks, type Moment, moment, systemClocks } from "../runtime/clocks.ts";
import { reconnect } from "../runtime/reconnect.ts";
import { drop, type Holding, hear, isLeased, NOTHING, sealingOf, take } from "./holding.ts";
import { checkRing, type Ring, type RingSource, type Sealing } from "./ring.ts";
import { makeOneTimeKey, openRing } from "./sealedRing.ts";

const REFRESH_INTERVAL_MS = 1000;
const REFRESH_TIMEOUT_MS = 5000;
const MAX_WAITING = 100;
const BACKOFF = { minBackoffMs: 100, maxBackoffMs: 2000 };
const RELEASE_TIMEOUT_MS = 1000;
/** A lease is renewed when so much of it is over: two renewals may get lost. */
const RENEW_AFTER = 1 / 3;

/** Who holds the lease under which is sealed. */
export interface LeaseOptions {
  /** This process: no other ever has the same name. At most 200 characters. */
  holder: string;
  /** The newest revision of the audience's state that it reads. Default: 1. */
  reads?: number | undefined;
  /** Gives it back. Default: asks the key service to end it. */
  release?: (() => Promise<unknown>) | undefined;
  /** Hears each time the lease is there, or is not there any more. */
  changed?(isLeased: boolean): void;
}

/** Whose ring is watched, and how. */
export interface RingWatcherOptions {
  /** gRPC target of the key service. */
  target: string;
  /** TLS and the like. Default: plaintext. */
  client?: Pick<ClientOptions, "credentials" | "channel"> | undefined;
  /** The service that this process is, and the audience whose ring it wants. */
  service: string;
  audience: string;
  credentials: Credentials;
  log?: Logger;
  /** Default: none, and nothing is sealed. */
  lease?: LeaseOptions | undefined;
  /** For tests. */
  clocks?: Clocks;
  /** Waits between fetches and between streams; rejects when the signal is aborted. For tests. */
  wait?: (ms: number, signal: AbortSignal) => Promise<unknown>;
}

/**
 * Keeps the ring of one audience, from the key service's stream. When the stream breaks, the last
 * ring stays good and the stream is opened again. Who seals holds a lease: it is renewed again and
 * again, and at once for a ring that is new, which the renewal acknowledges. When it has run out,
 * nothing is sealed, and what is to be opened waits for the key service's answer: a key may have been
 * destroyed since.
 */
export class RingWatcher implements RingSource {
  readonly #options: RingWatcherOptions;
  readonly #wait: NonNullable<RingWatcherOptions["wait"]>;
  readonly #client: ServiceClient<typeof KeysServiceService>;
  readonly #closing = new AbortController();
  readonly #first = Promise.withResolvers<void>();
  readonly #clocks: Clocks;
  readonly #log: Logger | undefined;
  #holding: Holding = NOTHING;
  #sealing: Sealing | undefined;
  #wasLeased = false;
  #lapse: NodeJS.Timeout | undefined;
  /** Ends the wait for the next renewal. */
  #renewNow = () => {};
  /** The renewal that is under way. */
  #renewal: Promise<unknown> | undefined;
  #fetching: Promise<Ring> | undefined;
  #waiting = 0;
  #fetchedAt = Number.NEGATIVE_INFINITY;

  constructor(options: RingWatcherOptions) {
    this.#options = options;
    this.#wait = options.wait ?? ((ms, signal) => delay(ms, undefined, { signal }));
    this.#client = createClient(KeysServiceService, options.target, {
      ...options.client,
      timeoutMs: REFRESH_TIMEOUT_MS,
    });
    this.#clocks = options.clocks ?? systemClocks;
    this.#log = options.log?.child({ audience: options.audience });
    void this.#watch();
    if (options.lease !== undefined) void this.#keepLease(options.lease);
  }

  /** Settles when the first ring has arrived, and the first lease where one is held. */
  get ready(): Promise<void> {
    return this.#first.promise;
  }

  current(): Ring | undefined {
    const isCurrent =
      this.#options.lease === undefined || isLeased(this.#holding, moment(this.#clocks));
    return isCurrent ? this.#holding.ring : undefined;
  }

  sealing(): Sealing | undefined {
    return isLeased(this.#holding, moment(this.#clocks)) ? this.#sealing : undefined;
  }

  async refresh(): Promise<Ring> {
    // Strangers can name keys that do not exist: what waits for them is bounded.
    if (this.#waiting >= MAX_WAITING) throw Errors.KEYS_UNAVAILABLE({ retryAfterMs: 1000 });
    this.#waiting += 1;
    try {
      this.#fetching ??= this.#fetchInTurn().finally(() => {
        this.#fetching = undefined;
      });
      return await this.#fetching;
    } finally {
      this.#waiting -= 1;
    }
  }

  /** Stops watching, and gives the lease back: nobody waits for it to run out. */
  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    clearTimeout(this.#lapse);
    const { lease } = this.#options;
    const renewal = this.#renewal;
    const mayBeLeased = renewal !== undefined || isLeased(this.#holding, moment(this.#clocks));
    // First nothing is sealed any more.
    this.#holding = drop(this.#holding);
    if (lease !== undefined && mayBeLeased) {
      // A renewal that arrives later than the release makes the lease anew.
      await Promise.race([renewal, delay(RELEASE_TIMEOUT_MS, undefined, { ref: false })]);
      // What is not given back runs out.
      await (lease.release?.() ?? this.#release(lease.holder)).catch(() => {});
    }
    this.#client.close();
  }

  async #release(holder: string): Promise<void> {
    const { audience } = this.#options;
    const metadata = await this.#authorization("releaseLease");
    const settings = { metadata, timeoutMs: RELEASE_TIMEOUT_MS };
    await this.#client.releaseLease({ audience, holder }, settings);
  }

  async #fetchInTurn(): Promise<Ring> {
    const leftMs = this.#fetchedAt + REFRESH_INTERVAL_MS - performance.now();
    if (leftMs > 0) await this.#wait(leftMs, this.#closing.signal);
    this.#fetchedAt = performance.now();
    const { audience, service, credentials } = this.#options;
    try {
      const oneTimeKey = await makeOneTimeKey();
      const sealed = await this.#client.getRing(
        { audience },
        {
          metadata: await this.#authorization("getRing", oneTimeKey.publicJwk),
        },
      );
      return this.#accept(await openRing(sealed, service, oneTimeKey, credentials));
    } catch (cause) {
      throw Errors.KEYS_UNAVAILABLE({ cause, retryAfterMs: 1000 });
    }
  }

  #watch(): Promise<void> {
    const { audience, service, credentials } = this.#options;
    const { signal } = this.#closing;
    const follow = async (succeeded: () => void) => {
      const oneTimeKey = await makeOneTimeKey();
      const metadata = await this.#authorization("watchRing", oneTimeKey.publicJwk);
      for await (const { ring } of this.#client.watchRing({ audience }, { signal, metadata })) {
        if (ring) this.#accept(await openRing(ring, service, oneTimeKey, credentials));
        succeeded();
      }
    };
    return reconnect("key ring stream disconnected; reconnecting", follow, {
      ...BACKOFF,
      signal,
      log: this.#log,
      wait: this.#wait,
    });
  }

  #keepLease(lease: LeaseOptions): Promise<void> {
    const renew = async () => {
      const acknowledged = this.#holding.ring?.version ?? 0;
      const renewal = this.#renew(lease, acknowledged);
      this.#renewal = renewal.catch(() => {});
      const { durationMs, version } = await renewal.finally(() => {
        this.#renewal = undefined;
      });
      // A first lease acknowledges the ring that it comes with; a later one the ring of its request.
      const isAcknowledged = this.#holding.ring?.version === (acknowledged || version);
      return isAcknowledged ? durationMs * RENEW_AFTER * (0.5 + Math.random() / 2) : 0;
    };
    return reconnect("key ring lease not renewed; will retry", renew, {
      ...BACKOFF,
      signal: this.#closing.signal,
      log: this.#log,
      wait: (ms, signal) => {
        const woken = new AbortController();
        this.#renewNow = () => woken.abort();
        return this.#wait(ms, AbortSignal.any([signal, woken.signal]));
      },
    });
  }

  /** @returns how long the lease lasts, and the version of the ring that it came with */
  async #renew(
    { holder, reads = 1 }: LeaseOptions,
    acknowledgedVersion: number,
  ): Promise<{ durationMs: number; version: number }> {
    const { audience, service, credentials } = this.#options;
    const oneTimeKey = await makeOneTimeKey();
    const metadata = await this.#authorization("renewLease", oneTimeKey.publicJwk);
    const asked = moment(this.#clocks);
    const request = { audience, holder, acknowledgedVersion, readsRevision: reads };
    const { ring, duration, sealsRevision } = await this.#client.renewLease(request, { metadata });
    if (ring === undefined || duration === undefined) throw new Error("granted without a ring");
    const opened = checkRing(await openRing(ring, service, oneTimeKey, credentials), audience);
    const durationMs = Number(duration.seconds) * 1000 + duration.nanos / 1e6;
    if (this.#closing.signal.aborted) return { durationMs, version: opened.version };
    const granted = { ring: opened, durationMs, revision: sealsRevision };
    this.#became(take(this.#holding, granted, asked));
    return { durationMs, version: opened.version };
  }

  #accept(ring: Ring): Ring {
    this.#became(hear(this.#holding, checkRing(ring, this.#options.audience)));
    return this.#holding.ring!;
  }

  #became(holding: Holding): void {
    const isNew = holding.ring !== this.#holding.ring;
    this.#holding = holding;
    this.#sealing = sealingOf(holding);
    if (isNew) this.#renewNow();
    const now = moment(this.#clocks);
    const leased = isLeased(holding, now);
    if (leased || this.#options.lease === undefined) this.#first.resolve();
    this.#tell(leased, now);
  }

  /** Tells of the lease's beginning and of its end, which nothing else would bring to mind. */
  #tell(leased: boolean, now: Moment): void {
    const { lease } = this.#options;
    if (lease === undefined) return;
    clearTimeout(this.#lapse);
    if (leased) {
      const { until } = this.#holding;
      const leftMs = Math.min(until.monotonic - now.monotonic, until.wall - now.wall);
      const look = () => {
        const later = moment(this.#clocks);
        this.#tell(isLeased(this.#holding, later), later);
      };
      this.#lapse = setTimeout(look, leftMs + 1).unref();
    }
    if (leased === this.#wasLeased) return;
    this.#wasLeased = leased;
    if (!leased) this.#log?.error("key ring lease expired; sealing nothing until it is renewed");
    lease.changed?.(leased);
  }

  async #authorization(
    method: "getRing" | "watchRing" | "renewLease" | "releaseLease",
    oneTimeKey?: Parameters<typeof assertService>[3],
  ): Promise<Metadata> {
    const { service, credentials } = this.#options;
    const { path } = KeysServiceService[method];
    const metadata = new Metadata();
    metadata.set("authorization", await assertService(credentials, service, path, oneTimeKey));
    return metadata;
  }
}
