import { createCipheriv, createDecipheriv, createHmac, randomBytes } from "node:crypto";
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

/** What a spill may be given otherwise than by default. */
export interface SpillsOptions {
  /**
   * What may be kept of one session, in bytes, for as long as it lives. Calls at the same moment do not see
   * each other's. Default: 16 MiB.
   */
  quota?: number;
  /** States that are held in memory, in bytes. Default: 32 MiB. */
  cache?: number;
}

interface Cached {
  readonly key: Buffer;
  readonly state: Buffer;
}

/**
 * States that are too large to be carried: kept in Postgres, immutable, sealed and addressed under
 * keys that only their session's waybills carry. A replica's cache of them is always right.
 */
export class Spills {
  readonly #pool: Pool;
  readonly #schema: string;
  readonly #quota: number;
  readonly #cacheBytes: number;
  /** By session and address; the one that was not used for longest comes first. */
  readonly #cache = new Map<string, Cached>();
  #cached = 0;
  readonly #loading = new Map<string, Promise<Buffer | undefined>>();

  constructor(pool: Pool, schema: string, options: SpillsOptions = {}) {
    this.#pool = pool;
    this.#schema = schema;
    this.#quota = wholeNumber("Spills: quota", options.quota ?? 16 * 2 ** 20);
    this.#cacheBytes = wholeNumber("Spills: cache", options.cache ?? 32 * 2 ** 20, 0);
  }

  /**
   * Keeps a state.
   *
   * @param before where an earlier state of the session lies: its key goes on
   * @param tx to be done in, asked for when there is something to be written; default: its own
   * @returns where it lies; `before`, when the state is the same
   * @throws StatusError STATE_TOO_LARGE, SPILL_QUOTA_EXCEEDED: nothing was written
   */
  async keep(
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
    this.#remember(nameOf(sessionId, address), { key, state });
    return { address, key };
  }

  /**
   * @returns undefined when the session has no such state, or when it was changed
   */
  async load(sessionId: string, { address, key }: Spill): Promise<Buffer | undefined> {
    const name = nameOf(sessionId, address);
    const known = this.#cache.get(name);
    if (known?.key.equals(key)) {
      this.#cache.delete(name);
      this.#cache.set(name, known);
      return known.state;
    }
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
    this.#remember(name, { key, state });
    return state;
  }

  #remember(name: string, cached: Cached): void {
    this.#cached += cached.state.length - (this.#cache.get(name)?.state.length ?? 0);
    this.#cache.delete(name);
    this.#cache.set(name, cached);
    for (const [oldest, { state }] of this.#cache) {
      if (this.#cached <= this.#cacheBytes) return;
      this.#cache.delete(oldest);
      this.#cached -= state.length;
    }
  }
}

function nameOf(sessionId: string, address: Buffer): string {
  return `${sessionId}/${address.toString("base64url")}`;
}

function hmac(key: Buffer, purpose: string, data: Uint8Array): Buffer {
  return createHmac("sha256", key).update(`${purpose}\0`).update(data).digest();
}

/** Nonces are random: one session keeps far fewer states than they are good for. */
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
