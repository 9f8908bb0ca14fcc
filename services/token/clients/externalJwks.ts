import { get } from "node:https";
import {
  importKeys,
  type VerificationKey,
  type VerificationKeys,
} from "#shared/auth/tokens/verificationKeys.ts";

const MAX_BYTES = 64 * 1024;
const TIMEOUT_MS = 3000;
const MIN_INTERVAL_MS = 10_000;
const CACHED_MS = 5 * 60_000;

export interface ExternalJwksOptions {
  /** https URL of the JWK set. */
  uri: string;
  /** Certificate authority of the URL, in PEM. Empty: the default authorities. */
  caCertificate: string;
  algorithms: readonly string[];
}

/**
 * Fetches and caches the keys of a trusted issuer. A fetch uses the configured URL only, over TLS,
 * follows no redirects, and has limits of size and time. Tokens with unknown keys cause at most one
 * fetch in ten seconds.
 */
export class ExternalJwks implements VerificationKeys {
  readonly #options: ExternalJwksOptions;
  readonly #monotonic: () => number;
  #keys: ReadonlyMap<string, VerificationKey> = new Map();
  #fetchedAt = Number.NEGATIVE_INFINITY;
  /** Time of the last fetch that failed, or that was made before the cached keys expired. */
  #askedAt = Number.NEGATIVE_INFINITY;
  /** Error of the last fetch; undefined when it succeeded. */
  #failure: unknown;
  #fetching: Promise<void> | undefined;

  /** @param monotonic a monotonic clock, in milliseconds */
  constructor(options: ExternalJwksOptions, monotonic: () => number = () => performance.now()) {
    this.#options = options;
    this.#monotonic = monotonic;
  }

  find(kid: string): VerificationKey | undefined {
    // Limits how long a key that the issuer has withdrawn is used.
    return this.#monotonic() - this.#fetchedAt > CACHED_MS ? undefined : this.#keys.get(kid);
  }

  /**
   * Fetches the keys, unless they were just fetched. Rejects when the fetch fails. Later calls reject
   * with the same error until the next attempt, because a key that is missing here may exist.
   */
  async refresh(): Promise<void> {
    if (this.#fetching === undefined) {
      const now = this.#monotonic();
      if (now - this.#askedAt < MIN_INTERVAL_MS) {
        if (this.#failure !== undefined) throw this.#failure;
        return;
      }
      if (now - this.#fetchedAt < CACHED_MS) this.#askedAt = now;
      this.#fetching = this.#fetch().finally(() => {
        this.#fetching = undefined;
      });
    }
    await this.#fetching;
  }

  async #fetch(): Promise<void> {
    const { uri, caCertificate, algorithms } = this.#options;
    const startedAt = this.#monotonic();
    try {
      this.#keys = await importKeys(JSON.parse(await read(uri, caCertificate)), algorithms);
      this.#fetchedAt = startedAt;
      this.#failure = undefined;
    } catch (error) {
      this.#askedAt = startedAt;
      this.#failure = error;
      throw error;
    }
  }
}

function read(uri: string, ca: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const options = { signal, agent: false as const, ...(ca && { ca }) };
    const request = get(uri, options, (response) => {
      const { statusCode } = response;
      if (statusCode !== 200) {
        request.destroy(new Error(`${uri} responds with status ${statusCode}`));
        return;
      }
      const parts: Buffer[] = [];
      let bytes = 0;
      response.on("data", (part: Buffer) => {
        bytes += part.length;
        if (bytes > MAX_BYTES)
          request.destroy(new Error(`${uri} responds with more than ${MAX_BYTES} bytes`));
        else parts.push(part);
      });
      response.on("end", () => resolve(Buffer.concat(parts).toString("utf8")));
      response.on("error", reject);
    });
    request.on("error", reject);
  });
}
