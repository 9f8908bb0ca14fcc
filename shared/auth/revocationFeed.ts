import { randomBytes } from "node:crypto";
import type { ServiceError } from "@grpc/grpc-js";
import type { Logger } from "pino";
import { KeysServiceService, type Revocation } from "../../proto/gen/waybill/keys/v1/keys.ts";
import { type ClientOptions, createClient, type ServiceClient } from "../client/client.ts";
import { Errors, readError } from "../errors.ts";
import { moment, systemClocks } from "../runtime/clocks.ts";
import { reconnect } from "../runtime/reconnect.ts";
import { Assertions } from "./assertions.ts";
import type { Credentials } from "./credentials/credentials.ts";
import { Revocations, type RevocationsOptions } from "./tokens/revocations.ts";

const PING_MS = 1000;
const PING_TIMEOUT_MS = 3000;
const PING_RETRY_MS = 250;

/** Options of a revocation feed. */
export interface RevocationFeedOptions extends RevocationsOptions {
  /** gRPC target of the key service. */
  target: string;
  /** TLS and the like. Default: plaintext, without retries. */
  client?: Pick<ClientOptions, "contract" | "credentials" | "channel"> | undefined;
  /** The service of this process. */
  service: string;
  credentials: Credentials;
  log?: Logger;
}

/** The subject, sign-in, token or session to revoke. */
export type RevocationTarget = NonNullable<Revocation["target"]>;

/**
 * Follows the key service's feed of revocations: a stream delivers each one within milliseconds, and a poll once
 * a second proves that none is missing. It also sends this replica's revocations to the key service.
 */
export class RevocationFeed {
  readonly revocations: Revocations;
  readonly #options: RevocationFeedOptions;
  readonly #client: ServiceClient<typeof KeysServiceService>;
  readonly #closing = new AbortController();
  readonly #first = Promise.withResolvers<void>();
  readonly #assertions: Assertions;

  constructor(options: RevocationFeedOptions) {
    this.#options = options;
    this.revocations = new Revocations(options);
    this.#assertions = new Assertions(options.credentials, options.service);
    this.#client = createClient(KeysServiceService, options.target, { ...options.client });
    void this.#ping();
    void this.#watch();
  }

  /** Settles after the first poll: every revocation is known. */
  get ready(): Promise<void> {
    return this.#first.promise;
  }

  /**
   * Revokes. Settles when the revocation is durable. Replicas receive it within milliseconds; a replica that does
   * not receive it stops serving protected calls after its bound (`boundMs`).
   *
   * @param ttlS duration of the revocation, in seconds: the longest life of the tokens and waybills that it revokes
   */
  async revoke(targets: readonly RevocationTarget[], ttlS: number): Promise<void> {
    const ttl = { seconds: BigInt(Math.ceil(ttlS)), nanos: 0 };
    await this.send(targets.map((target) => ({ id: randomBytes(16), target, ttl })));
  }

  /**
   * Revokes with the caller's own ids, which make a retry idempotent.
   *
   * @throws StatusError KEYS_UNAVAILABLE: the outcome is unknown, retry with the same ids;
   *   TOO_MANY_SESSIONS_ENDED
   */
  async send(revocations: readonly Revocation[]): Promise<void> {
    const request = { revocations: [...revocations] };
    const metadata = await this.#assertions.to(KeysServiceService.revoke);
    await this.#client.revoke(request, { metadata }).catch((cause: ServiceError) => {
      const { reason, retryAfterMs = 1000 } = readError(cause);
      const isFull = reason === "TOO_MANY_SESSIONS_ENDED";
      const refusal = isFull ? Errors.TOO_MANY_SESSIONS_ENDED : Errors.KEYS_UNAVAILABLE;
      throw refusal({ cause, retryAfterMs });
    });
  }

  close(): void {
    this.#closing.abort();
    this.#client.close();
  }

  /** Polls, one poll at a time: a response is as fresh as the moment when its request was sent. */
  #ping(): Promise<void> {
    const ping = async () => {
      const metadata = await this.#assertions.to(KeysServiceService.readRevocations);
      const sentAt = moment(this.#options.clocks ?? systemClocks);
      const afterNumber = this.revocations.number;
      const timeoutMs = PING_TIMEOUT_MS;
      const piece = await this.#client.readRevocations({ afterNumber }, { metadata, timeoutMs });
      this.revocations.apply(piece);
      this.revocations.fresh(sentAt);
      this.#first.resolve();
      return PING_MS * (0.9 + Math.random() * 0.2);
    };
    const { signal } = this.#closing;
    const backoff = { minBackoffMs: PING_RETRY_MS, maxBackoffMs: PING_RETRY_MS };
    const { log } = this.#options;
    return reconnect("revocation poll failed; will retry", ping, { ...backoff, signal, log });
  }

  #watch(): Promise<void> {
    const { signal } = this.#closing;
    const follow = async (succeeded: () => void) => {
      const metadata = await this.#assertions.to(KeysServiceService.watchRevocations);
      const afterNumber = this.revocations.number;
      const pieces = this.#client.watchRevocations({ afterNumber }, { signal, metadata });
      for await (const piece of pieces) {
        succeeded();
        // After a gap the stream is opened again, from the last number applied here.
        if (!this.revocations.apply(piece)) break;
      }
    };
    // The poll warns when the key service is unavailable.
    const options = { signal, log: this.#options.log, level: "debug" } as const;
    return reconnect("revocation stream disconnected; reconnecting", follow, options);
  }
}
