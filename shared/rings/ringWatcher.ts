import { setTimeout as delay } from "node:timers/promises";
import { Metadata } from "@grpc/grpc-js";
import type { Logger } from "pino";
import { KeysServiceService } from "../../proto/gen/waybill/keys/v1/keys.ts";
import { assertService } from "../credentials/assertion.ts";
import type { Credentials } from "../credentials/credentials.ts";
import { Errors } from "../errors/errors.ts";
import { type ClientOptions, createClient, type ServiceClient } from "../grpc/client.ts";
import type { Ring, RingSource } from "../waybill/ring.ts";
import { makeOneTimeKey, openRing } from "./sealedRing.ts";

const REFRESH_INTERVAL_MS = 1000;
const REFRESH_TIMEOUT_MS = 5000;
const MAX_WAITING = 100;
const MIN_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 2000;

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
  /** Waits between fetches and between streams; rejects when the signal is aborted. For tests. */
  wait?: (ms: number, signal: AbortSignal) => Promise<unknown>;
}

/**
 * Keeps the ring of one audience, from the key service's stream. When the stream breaks, the last
 * ring stays good and the stream is opened again.
 */
export class RingWatcher implements RingSource {
  readonly #options: RingWatcherOptions;
  readonly #wait: NonNullable<RingWatcherOptions["wait"]>;
  readonly #client: ServiceClient<typeof KeysServiceService>;
  readonly #closing = new AbortController();
  readonly #first = Promise.withResolvers<void>();
  #ring: Ring | undefined;
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
    void this.#watch();
  }

  /** Settles when the first ring has arrived. */
  get ready(): Promise<void> {
    return this.#first.promise;
  }

  current(): Ring | undefined {
    return this.#ring;
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

  /** Stops watching. */
  close(): void {
    this.#closing.abort();
    this.#client.close();
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

  async #watch(): Promise<void> {
    const { audience, service, credentials, log } = this.#options;
    const { signal } = this.#closing;
    let backoffMs = MIN_BACKOFF_MS;
    while (!signal.aborted) {
      try {
        const oneTimeKey = await makeOneTimeKey();
        const rings = this.#client.watchRing(
          { audience },
          {
            signal,
            metadata: await this.#authorization("watchRing", oneTimeKey.publicJwk),
          },
        );
        for await (const { ring } of rings) {
          if (ring) this.#accept(await openRing(ring, service, oneTimeKey, credentials));
          backoffMs = MIN_BACKOFF_MS;
        }
      } catch (error) {
        // No stack: while the key service is away this comes again and again.
        const { message } = error as Error;
        if (!signal.aborted) log?.warn({ audience, cause: message }, "the watch of the ring broke");
      }
      const jitter = 0.5 + Math.random() / 2;
      await this.#wait(backoffMs * jitter, signal).catch(() => {});
      backoffMs = Math.min(backoffMs * 2, MAX_BACKOFF_MS);
    }
  }

  /** Keeps the newest: the stream and a fetch may overtake each other. */
  #accept(ring: Ring): Ring {
    if (ring.audience !== this.#options.audience) {
      throw new Error(`asked for the ring of ${this.#options.audience}, got ${ring.audience}'s`);
    }
    if (this.#ring === undefined || ring.version > this.#ring.version) this.#ring = ring;
    this.#first.resolve();
    return this.#ring;
  }

  async #authorization(
    method: "getRing" | "watchRing",
    oneTimeKey: Parameters<typeof assertService>[3],
  ): Promise<Metadata> {
    const { service, credentials } = this.#options;
    const { path } = KeysServiceService[method];
    const metadata = new Metadata();
    metadata.set("authorization", await assertService(credentials, service, path, oneTimeKey));
    return metadata;
  }
}
