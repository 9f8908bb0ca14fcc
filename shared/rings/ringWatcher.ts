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
import { drop, type Holding, isLeased, NOTHING, receive, sealingOf, take } from "./holding.ts";
import { checkRing, type Ring, type RingSource, type Sealing } from "./ring.ts";
import { makeOneTimeKey, openRing } from "./sealedRing.ts";

const REFRESH_INTERVAL_MS = 1000;
const REFRESH_TIMEOUT_MS = 5000;
const MAX_WAITING = 100;
const BACKOFF = { minBackoffMs: 100, maxBackoffMs: 2000 };
const RELEASE_TIMEOUT_MS = 1000;
/** A lease is renewed after this share of its duration: two renewals may fail. */
const RENEW_AFTER = 1 / 3;

/** The lease that allows a replica to seal. */
export interface LeaseOptions {
  /** Unique name of this process. At most 200 characters. */
  holder: string;
  /** The newest state revision of the audience that it reads. Default: 1. */
  reads?: number | undefined;
  /** Releases the lease. Default: asks the key service to end it. */
  release?: (() => Promise<unknown>) | undefined;
  /** Called each time the lease begins or ends. */
  changed?(isLeased: boolean): void;
}

/** Options of a ring watcher. */
export interface RingWatcherOptions {
  /** gRPC target of the key service. */
  target: string;
  /** TLS and the like. Default: plaintext. */
  client?: Pick<ClientOptions, "credentials" | "channel"> | undefined;
  /** The service of this process, and the audience of the ring. */
  service: string;
  audience: string;
  credentials: Credentials;
  log?: Logger;
  /** Default: none; the replica opens waybills but seals none. */
  lease?: LeaseOptions | undefined;
  /** For tests. */
  clocks?: Clocks;
  /** Waits between fetches and between streams; rejects when the signal is aborted. For tests. */
  wait?: (ms: number, signal: AbortSignal) => Promise<unknown>;
}

/**
 * Receives the ring of one audience from the key service's stream. When the stream disconnects, the last ring stays
 * valid and the watcher reconnects. A replica that seals holds a lease, which it renews periodically, and at once for
 * a new ring, which the renewal acknowledges. After the lease has expired, the replica seals nothing, and fetches the
 * ring before it opens a waybill: a key may have been destroyed since.
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
  /** Starts the next renewal at once. */
  #renewNow = () => {};
  /** The renewal in flight. */
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

  /** Settles when the first ring has arrived, and the first lease where `lease` is set. */
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
    // Unauthenticated callers can name keys that do not exist: the waiting calls are bounded.
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

  /** Stops watching, and releases the lease, so that rotations do not wait for its expiry. */
  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    clearTimeout(this.#lapse);
    const { lease } = this.#options;
    const renewal = this.#renewal;
    const mayBeLeased = renewal !== undefined || isLeased(this.#holding, moment(this.#clocks));
    // Sealing stops before the lease is released.
    this.#holding = drop(this.#holding);
    if (lease !== undefined && mayBeLeased) {
      // A renewal that arrives after the release would grant a new lease.
      await Promise.race([renewal, delay(RELEASE_TIMEOUT_MS, undefined, { ref: false })]);
      // A lease that is not released expires.
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
    if (ring === undefined || duration === undefined)
      throw new Error("the lease was granted without a ring");
    const opened = checkRing(await openRing(ring, service, oneTimeKey, credentials), audience);
    const durationMs = Number(duration.seconds) * 1000 + duration.nanos / 1e6;
    if (this.#closing.signal.aborted) return { durationMs, version: opened.version };
    const granted = { ring: opened, durationMs, revision: sealsRevision };
    this.#replace(take(this.#holding, granted, asked));
    return { durationMs, version: opened.version };
  }

  #accept(ring: Ring): Ring {
    this.#replace(receive(this.#holding, checkRing(ring, this.#options.audience)));
    return this.#holding.ring!;
  }

  #replace(holding: Holding): void {
    const isNew = holding.ring !== this.#holding.ring;
    this.#holding = holding;
    this.#sealing = sealingOf(holding);
    if (isNew) this.#renewNow();
    const now = moment(this.#clocks);
    const leased = isLeased(holding, now);
    if (leased || this.#options.lease === undefined) this.#first.resolve();
    this.#report(leased, now);
  }

  /** Reports the lease's beginning, and by a timer its expiry. */
  #report(leased: boolean, now: Moment): void {
    const { lease } = this.#options;
    if (lease === undefined) return;
    clearTimeout(this.#lapse);
    if (leased) {
      const { until } = this.#holding;
      const leftMs = Math.min(until.monotonic - now.monotonic, until.wall - now.wall);
      const look = () => {
        const later = moment(this.#clocks);
        this.#report(isLeased(this.#holding, later), later);
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
