import type { Logger } from "pino";
import { TokenServiceService } from "../../proto/gen/waybill/token/v1/token.ts";
import { type ClientOptions, createClient, type ServiceClient } from "../client/client.ts";
import { reconnect } from "../runtime/reconnect.ts";
import {
  importKeys,
  SIGNING_ALGORITHMS,
  type VerificationKey,
  type VerificationKeys,
} from "./tokens/verificationKeys.ts";

/** Much shorter than the time for which a key is published before it signs. */
const POLL_MS = 60_000;
const MIN_INTERVAL_MS = 1000;
const BACKOFF = { minBackoffMs: 20, maxBackoffMs: 2000 };

/** Options of a JWKS watcher. */
export interface JwksWatcherOptions {
  /** gRPC target of the token service. */
  target: string;
  /** TLS and the like. Default: plaintext. */
  client?: Pick<ClientOptions, "credentials" | "channel"> | undefined;
  log?: Logger;
}

/** Polls the token service's public keys (JWKS). Known keys stay valid while the token service is unavailable. */
export class JwksWatcher implements VerificationKeys {
  readonly #client: ServiceClient<typeof TokenServiceService>;
  readonly #log: Logger | undefined;
  readonly #closing = new AbortController();
  readonly #first = Promise.withResolvers<void>();
  #keys: ReadonlyMap<string, VerificationKey> = new Map();
  #asked: Promise<void> = Promise.resolve();
  #askedAt = Number.NEGATIVE_INFINITY;
  #isAsking = false;

  constructor({ target, client, log }: JwksWatcherOptions) {
    this.#client = createClient(TokenServiceService, target, { ...client, timeoutMs: 5000 });
    this.#log = log;
    void this.#poll();
  }

  /** Settles when the first keys have arrived. */
  get ready(): Promise<void> {
    return this.#first.promise;
  }

  find(kid: string): VerificationKey | undefined {
    return this.#keys.get(kid);
  }

  refresh(): Promise<void> {
    // Unauthenticated callers can name any key: at most one request a second is sent for them.
    if (!this.#isAsking && performance.now() - this.#askedAt >= MIN_INTERVAL_MS) {
      this.#askedAt = performance.now();
      this.#isAsking = true;
      this.#asked = this.#fetch().finally(() => {
        this.#isAsking = false;
      });
    }
    return this.#asked;
  }

  close(): void {
    this.#closing.abort();
    this.#client.close();
  }

  async #fetch(): Promise<void> {
    const { data } = await this.#client.getJwks({});
    const keys = await importKeys(JSON.parse(data.toString("utf8")), SIGNING_ALGORITHMS);
    // The same key stays the same object: its cached verifications stay valid.
    this.#keys = new Map(
      [...keys].map(([kid, key]) => {
        const before = this.#keys.get(kid);
        return [kid, before?.algorithm === key.algorithm ? before : key];
      }),
    );
    if (keys.size > 0) this.#first.resolve();
  }

  #poll(): Promise<void> {
    const poll = async () => {
      await this.#fetch();
      // Without keys it retries soon: the token service is making its first ones.
      return this.#keys.size > 0 ? POLL_MS * (0.9 + Math.random() * 0.2) : undefined;
    };
    const { signal } = this.#closing;
    const options = { ...BACKOFF, signal, log: this.#log };
    return reconnect("signing key poll failed; will retry", poll, options);
  }
}
