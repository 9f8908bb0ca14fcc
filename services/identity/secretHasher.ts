import { argon2, randomBytes, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import { Errors } from "waybill";

/** Cost of an Argon2id hash (RFC 9106). */
export interface Argon2Cost {
  readonly memoryKib: number;
  readonly passes: number;
  readonly lanes: number;
}

/** OWASP's recommendation with the least memory. */
export const DEFAULT_COST: Argon2Cost = { memoryKib: 19_456, passes: 2, lanes: 1 };

const SALT_BYTES = 16;
const HASH_BYTES = 32;
/** Each hash takes a core for about 30 ms, and its memory. */
const MAX_AT_ONCE = 2;
const MAX_WAITING = 100;
const PHC = /^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([\w+/]+)\$([\w+/]+)$/;

const compute = promisify(argon2);

/**
 * Hashes user secrets with Argon2id. Computes at most 2 hashes concurrently, queues 100 more, and
 * refuses further calls as `OVERLOADED`.
 */
export class SecretHasher {
  readonly #cost: Argon2Cost;
  readonly #dummy: string;
  #running = 0;
  readonly #waiting: (() => void)[] = [];
  #computed = 0;

  constructor(cost: Argon2Cost = DEFAULT_COST) {
    this.#cost = cost;
    // A hash that no secret matches, at the usual cost.
    this.#dummy = toPhc(cost, randomBytes(SALT_BYTES), randomBytes(HASH_BYTES));
  }

  /** Number of hashes computed so far. */
  get computed(): number {
    return this.#computed;
  }

  /** Hashes a secret with a new salt. @returns the PHC string format */
  async hash(secret: string): Promise<string> {
    const salt = randomBytes(SALT_BYTES);
    return toPhc(this.#cost, salt, await this.#compute(secret, salt, this.#cost));
  }

  /**
   * Compares a secret with a hash. Without a hash, computes one anyway and does not match, so that
   * timing does not reveal which usernames exist.
   *
   * @returns `isOutdated`: the hash has another cost than new hashes
   */
  async verify(
    secret: string,
    hash: string | undefined,
  ): Promise<{ matches: boolean; isOutdated: boolean }> {
    const { cost, salt, digest } = fromPhc(hash ?? this.#dummy);
    const computed = await this.#compute(secret, salt, cost);
    const matches = timingSafeEqual(computed, digest) && hash !== undefined;
    return { matches, isOutdated: JSON.stringify(cost) !== JSON.stringify(this.#cost) };
  }

  async #compute(secret: string, salt: Buffer, cost: Argon2Cost): Promise<Buffer> {
    if (this.#running >= MAX_AT_ONCE) {
      if (this.#waiting.length >= MAX_WAITING) throw Errors.OVERLOADED({ retryAfterMs: 1000 });
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else {
      this.#running += 1;
    }
    try {
      this.#computed += 1;
      return await compute("argon2id", {
        // Keyboards encode the same character in different ways (RFC 8265 section 4.2).
        message: secret.normalize("NFC"),
        nonce: salt,
        parallelism: cost.lanes,
        tagLength: HASH_BYTES,
        memory: cost.memoryKib,
        passes: cost.passes,
      });
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }
}

/** Parses a cost such as `m=19456,t=2,p=1`. @throws Error with the expected format */
export function parseCost(text: string): Argon2Cost {
  const [, m, t, p] = /^m=(\d+),t=(\d+),p=(\d+)$/.exec(text) ?? [];
  const cost = { memoryKib: Number(m), passes: Number(t), lanes: Number(p) };
  const isSane =
    cost.memoryKib >= 8 * cost.lanes &&
    cost.memoryKib <= 2 ** 21 &&
    cost.passes >= 1 &&
    cost.passes <= 100 &&
    cost.lanes >= 1 &&
    cost.lanes <= 16;
  if (!isSane) throw new Error("expected m=KIB,t=PASSES,p=LANES, such as m=19456,t=2,p=1");
  return cost;
}

function toPhc({ memoryKib, passes, lanes }: Argon2Cost, salt: Buffer, hash: Buffer): string {
  const text = (bytes: Buffer) => bytes.toString("base64").replaceAll("=", "");
  return `$argon2id$v=19$m=${memoryKib},t=${passes},p=${lanes}$${text(salt)}$${text(hash)}`;
}

function fromPhc(phc: string): { cost: Argon2Cost; salt: Buffer; digest: Buffer } {
  const [, m, t, p, salt, hash] = PHC.exec(phc) ?? [];
  if (salt === undefined || hash === undefined) throw new Error("not an Argon2id hash");
  return {
    cost: { memoryKib: Number(m), passes: Number(t), lanes: Number(p) },
    salt: Buffer.from(salt, "base64"),
    digest: Buffer.from(hash, "base64"),
  };
}
