import { get } from "node:https";
import {
  importKeys,
  type VerificationKey,
  type VerificationKeys,
} from "#shared/auth/tokens/verificationKeys.ts";

const MAX_BYTES = 64 * 1024;
const TIMEOUT_MS = 3000;
const MIN_INTERVAL_MS = 10_000;
const KEPT_MS = 5 * 60_000;

/** Where an issuer's keys are, and what they may be for. */
export interface ExternalJwksOptions {
  /** An https address. */
  uri: string;
  /** Who vouches for it, in PEM. Empty: the usual authorities. */
  caCertificate: string;
  algorithms: readonly string[];
}

/**
 * The keys of a trusted issuer, asked for at its one configured address, by TLS, without following
 * redirects, for so many bytes and seconds at most, and not more often than once in ten seconds
 * whatever tokens name.
 */
export class ExternalJwks implements VerificationKeys {
  readonly #options: ExternalJwksOptions;
  readonly #monotonic: () => number;
  #keys: ReadonlyMap<string, VerificationKey> = new Map();
  #fetchedAt = Number.NEGATIVE_INFINITY;
  /** When they were last fetched though cached keys were good still, or a fetch failed. */
  #askedAt = Number.NEGATIVE_INFINITY;
  /** Why the last fetch failed; undefined when it succeeded. */
  #failure: unknown;
  #fetching: Promise<void> | undefined;

  /** @param monotonic milliseconds of a clock that only goes forwards */
  constructor(options: ExternalJwksOptions, monotonic: () => number = () => performance.now()) {
    this.#options = options;
    this.#monotonic = monotonic;
  }

  find(kid: string): VerificationKey | undefined {
    // A key that its issuer has withdrawn is not used for longer than this.
    return this.#monotonic() - this.#fetchedAt > KEPT_MS ? undefined : this.#keys.get(kid);
  }

  /**
   * Fetches the keys, unless they were just fetched. Rejects with an Error when they can't be read: also
   * for all who ask before the next attempt, since a key that is missing here may be the issuer's.
   */
  async refresh(): Promise<void> {
    if (this.#fetching === undefined) {
      const now = this.#monotonic();
      if (now - this.#askedAt < MIN_INTERVAL_MS) {
        if (this.#failure !== undefined) throw this.#failure;
        return;
      }
      if (now - this.#fetchedAt < KEPT_MS) this.#askedAt = now;
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
        request.destroy(new Error(`${uri} answers ${statusCode}`));
        return;
      }
      const parts: Buffer[] = [];
      let bytes = 0;
      response.on("data", (part: Buffer) => {
        bytes += part.length;
        if (bytes > MAX_BYTES) request.destroy(new Error(`${uri} answers more than ${MAX_BYTES}`));
        else parts.push(part);
      });
      response.on("end", () => resolve(Buffer.concat(parts).toString("utf8")));
      response.on("error", reject);
    });
    request.on("error", reject);
  });
}
