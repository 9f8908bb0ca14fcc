import { createCipheriv, createDecipheriv, createHmac, randomBytes } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Spill } from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import { Errors } from "../errors.ts";
import type { Db, Pool } from "../pg/pool.ts";
import { newKey } from "../runtime/ids.ts";
import { wholeNumber } from "../runtime/wholeNumber.ts";
import { IV_BYTES, TAG_BYTES } from "../waybill/jwe.ts";
import { insertSpill } from "./sql/insertSpill.ts";
import { readSpill } from "./sql/readSpill.ts";

/** Largest state, in bytes. */
export const MAX_STATE = 2 ** 20;

/** Options of spills. */
export interface SpillsOptions {
  /**
   * Most bytes that are stored of one session, for its life. Concurrent calls do not see each other's states.
   * Default: 16 MiB.
   */
  quota?: number;
  /** Most bytes of states that are cached in memory. Default: 32 MiB. */
  cache?: number;
}

interface Cached {
  readonly key: Buffer;
  readonly state: Buffer;
}

/**
 * Spills states that are too large for a waybill to Postgres. A spilled state is immutable, sealed and addressed
 * under a key that only its session's waybills carry, so a cached copy is never stale.
 */
export class Spills {
  readonly #pool: Pool;
  readonly #schema: string;
  readonly #quota: number;
  /** By session and address. */
  readonly #cache: LRUCache<string, Cached>;
  readonly #loading = new Map<string, Promise<Buffer | undefined>>();

  constructor(pool: Pool, schema: string, options: SpillsOptions = {}) {
    this.#pool = pool;
    this.#schema = schema;
    this.#quota = wholeNumber("Spills: quota", options.quota ?? 16 * 2 ** 20);
    const maxSize = wholeNumber("Spills: cache", options.cache ?? 32 * 2 ** 20, 0);
    this.#cache = new LRUCache({
      maxSize: Math.max(1, maxSize),
      sizeCalculation: ({ state }) => Math.max(1, state.length),
    });
  }

  /**
   * Stores a state.
   *
   * @param before the address and key of the session's last spilled state: the key is used again
   * @param tx begins the transaction to write in; called only if there is something to write. Default: none
   * @returns its address and key; `before`, when the state is the same
   * @throws StatusError STATE_TOO_LARGE, SPILL_QUOTA_EXCEEDED: nothing was written
   */
  async store(
    sessionId: string,
    state: Buffer,
    before: Spill | undefined,
    tx: () => Promise<Db> = async () => this.#pool,
  ): Promise<Spill> {
    if (state.length > MAX_STATE) {
      throw Errors.STATE_TOO_LARGE({
        metadata: { limit: `${MAX_STATE}`, size: `${state.length}` },
      });
    }
    const key = before?.key ?? newKey();
    const address = hmac(key, "address", state);
    if (before?.address.equals(address)) return before;
    const content = seal(key, address, state);
    const row = { sessionId, address, content };
    if (!(await insertSpill(await tx(), this.#schema, row, this.#quota))) {
      throw Errors.SPILL_QUOTA_EXCEEDED({
        metadata: { quota: `${this.#quota}`, size: `${content.length}` },
      });
    }
    this.#cache.set(nameOf(sessionId, address), { key, state });
    return { address, key };
  }

  /**
   * Loads a state from the cache or Postgres.
   *
   * @returns undefined when the session has no such state, or its row was changed
   */
  async load(sessionId: string, { address, key }: Spill): Promise<Buffer | undefined> {
    const name = nameOf(sessionId, address);
    const known = this.#cache.get(name);
    if (known?.key.equals(key)) return known.state;
    let loading = this.#loading.get(name);
    if (loading === undefined) {
      loading = readSpill(this.#pool, this.#schema, sessionId, address).finally(() =>
        this.#loading.delete(name),
      );
      this.#loading.set(name, loading);
    }
    const content = await loading;
    const state = content && open(key, address, content);
    if (state === undefined) return undefined;
    this.#cache.set(name, { key, state });
    return state;
  }
}

function nameOf(sessionId: string, address: Buffer): string {
  return `${sessionId}/${address.toString("base64url")}`;
}

function hmac(key: Buffer, purpose: string, data: Uint8Array): Buffer {
  return createHmac("sha256", key).update(`${purpose}\0`).update(data).digest();
}

/** Seals under AES-256-GCM. Random nonces are safe: one session has far fewer than 2^32 states. */
function seal(key: Buffer, address: Buffer, state: Buffer): Buffer {
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv("aes-256-gcm", hmac(key, "seal", Buffer.alloc(0)), iv);
  cipher.setAAD(address);
  return Buffer.concat([iv, cipher.update(state), cipher.final(), cipher.getAuthTag()]);
}

function open(key: Buffer, address: Buffer, content: Buffer): Buffer | undefined {
  if (content.length < IV_BYTES + TAG_BYTES) return undefined;
  const iv = content.subarray(0, IV_BYTES);
  const decipher = createDecipheriv("aes-256-gcm", hmac(key, "seal", Buffer.alloc(0)), iv);
  decipher.setAAD(address);
  decipher.setAuthTag(content.subarray(-TAG_BYTES));
  try {
    const state = decipher.update(content.subarray(IV_BYTES, -TAG_BYTES));
    decipher.final();
    return hmac(key, "address", state).equals(address) ? state : undefined;
  } catch {
    return undefined;
  }
}
