import {
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
} from "node:crypto";
import type { JWK } from "jose";
import type { Pool } from "waybill/postgres";
import type { Wrapping } from "#shared/auth/credentials/wrapping.ts";
import type { SigningAlgorithm } from "#shared/auth/tokens/verificationKeys.ts";
import { transaction } from "#shared/pg/transaction.ts";
import type { AuditLog } from "../../auditLog/auditLog.ts";
import { deleteSigningKeys } from "./sql/deleteSigningKeys.ts";
import { insertSigningKey } from "./sql/insertSigningKey.ts";
import { lockSigningKeys } from "./sql/lockSigningKeys.ts";
import { readSigningKeys, type SigningKeyRow } from "./sql/readSigningKeys.ts";
import { rewrapSigningKey } from "./sql/rewrapSigningKey.ts";

/** Life of the keys, in seconds. */
export interface KeySchedule {
  /** Default algorithm of new keys. */
  readonly algorithm: SigningAlgorithm;
  /** How long a key is published before it signs: twice the longest cache life of the keys. */
  readonly publishS: number;
  /** How long a key signs. */
  readonly rotateS: number;
  /** Retention of a retired key: the longest lifetime of its access tokens and of its families. */
  readonly accessKeepS: number;
  readonly refreshKeepS: number;
}

/** A key that signs access tokens or derives refresh tokens. */
export interface SigningKey {
  readonly id: string;
  readonly algorithm: SigningKeyRow["algorithm"];
  /** Empty for HMAC. */
  readonly publicJwk: JWK;
  readonly key: KeyObject;
  readonly createdAt: Date;
  readonly activatesAt: Date;
  readonly state: "pending" | "active" | "retired";
}

type Use = "access" | "refresh";

const RELOAD_INTERVAL_MS = 1000;

/**
 * Loads, creates and rotates the signing keys of the cluster, which Postgres stores wrapped. The
 * database's clock decides when a key starts to sign, so all replicas change keys together.
 */
export class SigningKeys {
  readonly #db: Pool;
  readonly #wrapping: Wrapping;
  readonly #schedule: KeySchedule;
  readonly #audit: Pick<AuditLog, "writeWith"> | undefined;
  /** Newest first. */
  #keys: readonly (SigningKey & { readonly activeFrom: number })[] = [];
  #reloadedAt = Number.NEGATIVE_INFINITY;
  /** Error of the last reload for an unknown key; undefined when it succeeded. */
  #failure: unknown;
  #reloading: Promise<void> | undefined;

  /** @param audit gets an event for each key that `maintain` creates; undefined: none */
  constructor(
    db: Pool,
    wrapping: Wrapping,
    schedule: KeySchedule,
    audit?: Pick<AuditLog, "writeWith">,
  ) {
    this.#audit = audit;
    this.#db = db;
    this.#wrapping = wrapping;
    this.#schedule = schedule;
  }

  /** Creates missing and due keys, rewraps and deletes old ones, and reloads. Call it at start and periodically. */
  async maintain(): Promise<void> {
    await transaction(this.#db, async (tx) => {
      // One replica at a time: the second one finds the work done.
      await lockSigningKeys(tx);
      const rows = await readSigningKeys(tx);
      for (const use of ["access", "refresh"] as const) {
        const [newest] = rows.filter((row) => useOf(row.algorithm) === use);
        if (newest !== undefined && newest.ageS < this.#schedule.rotateS) continue;
        const publishS = newest === undefined ? 0 : this.#schedule.publishS;
        const algorithm = use === "refresh" ? "HMAC" : this.#schedule.algorithm;
        const made = this.#make(algorithm);
        await insertSigningKey(tx, made, publishS);
        await this.#audit?.writeWith(tx, {
          action: "signingKey.make",
          actor: "services/token",
          target: `signingKeys/${made.id}`,
          details: { algorithm },
        });
      }
      for (const row of rows) {
        if (row.wrappingKeyId === this.#wrapping.id) continue;
        const named = toWrap(row.id, row.algorithm);
        const secret = this.#wrapping.unwrap({ ...row, ...named });
        const wrapped = this.#wrapping.wrap(named, secret);
        await rewrapSigningKey(tx, row.id, this.#wrapping.id, wrapped);
      }
      const { accessKeepS, refreshKeepS } = this.#schedule;
      await deleteSigningKeys(tx, accessKeepS, refreshKeepS);
    });
    await this.reload();
  }

  /** Publishes a new key. It starts to sign after `publishS`. */
  async rotate(algorithm: SigningAlgorithm = this.#schedule.algorithm): Promise<SigningKey> {
    const made = this.#make(algorithm);
    await transaction(this.#db, async (tx) => {
      await lockSigningKeys(tx);
      await insertSigningKey(tx, made, this.#schedule.publishS);
    });
    await this.reload();
    return this.#keys.find(({ id }) => id === made.id)!;
  }

  async reload(): Promise<void> {
    const known = new Map(this.#keys.map((key) => [key.id, key.key]));
    const now = performance.now();
    const rows = await readSigningKeys(this.#db);
    this.#keys = rows.map((row, index) => ({
      id: row.id,
      algorithm: row.algorithm,
      publicJwk: row.publicJwk ?? {},
      key: known.get(row.id) ?? this.#unwrap(row),
      createdAt: row.createdAt,
      activatesAt: row.activatesAt,
      activeFrom: now + row.activeInMs,
      state:
        row.activeInMs > 0
          ? "pending"
          : rows.slice(0, index).some((newer) => newer.activeInMs <= 0 && sameUse(newer, row))
            ? "retired"
            : "active",
    }));
  }

  /** The keys of access tokens, newest first. */
  get published(): readonly SigningKey[] {
    return this.#keys.filter(({ algorithm }) => useOf(algorithm) === "access");
  }

  /** Returns the active key. @throws Error before the first key is loaded */
  current(use: Use): SigningKey {
    const now = performance.now();
    const key = this.#keys.find((each) => useOf(each.algorithm) === use && each.activeFrom <= now);
    if (key === undefined) throw new Error(`no active key for ${use} tokens`);
    return key;
  }

  /**
   * Finds the key of a refresh token. Reloads for an unknown key, at most once a second.
   *
   * Rejects when a reload fails, and with the same error until the next attempt: the key may exist, and a
   * client that gets INVALID_GRANT drops its sign-in.
   */
  async refreshKey(id: string): Promise<SigningKey | undefined> {
    const find = () => this.#keys.find((key) => key.id === id && key.algorithm === "HMAC");
    const known = find();
    if (known !== undefined) return known;
    if (this.#reloading === undefined) {
      if (performance.now() - this.#reloadedAt < RELOAD_INTERVAL_MS) {
        if (this.#failure !== undefined) throw this.#failure;
        return undefined;
      }
      this.#reloadedAt = performance.now();
      this.#reloading = this.reload()
        .then(
          () => {
            this.#failure = undefined;
          },
          (error) => {
            this.#failure = error;
            throw error;
          },
        )
        .finally(() => {
          this.#reloading = undefined;
        });
    }
    await this.#reloading;
    return find();
  }

  #make(algorithm: SigningKeyRow["algorithm"]) {
    const { secret, publicJwk } = makeKey(algorithm);
    // A refresh token has eight bytes for the id of its key.
    const id = randomBytes(8).toString("base64url");
    const wrapped = this.#wrapping.wrap(toWrap(id, algorithm), secret);
    return { id, algorithm, publicJwk, wrappingKeyId: this.#wrapping.id, wrapped };
  }

  #unwrap(row: SigningKeyRow): KeyObject {
    const secret = this.#wrapping.unwrap({ ...row, ...toWrap(row.id, row.algorithm) });
    return row.algorithm === "HMAC"
      ? createSecretKey(secret)
      : createPrivateKey({ key: secret, format: "der", type: "pkcs8" });
  }
}

function makeKey(algorithm: SigningKeyRow["algorithm"]): { secret: Buffer; publicJwk: JWK | null } {
  if (algorithm === "HMAC") return { secret: randomBytes(32), publicJwk: null };
  const { privateKey } =
    algorithm === "EdDSA"
      ? generateKeyPairSync("ed25519")
      : generateKeyPairSync("ec", { namedCurve: "P-256" });
  return {
    secret: privateKey.export({ format: "der", type: "pkcs8" }),
    publicJwk: createPublicKey(privateKey).export({ format: "jwk" }) as JWK,
  };
}

/** Returns the authenticated data of a wrapped key, so that a changed row does not unwrap. */
function toWrap(id: string, algorithm: string) {
  return { id, audience: "token", state: algorithm };
}

function useOf(algorithm: SigningKeyRow["algorithm"]): Use {
  return algorithm === "HMAC" ? "refresh" : "access";
}

function sameUse(a: SigningKeyRow, b: SigningKeyRow): boolean {
  return useOf(a.algorithm) === useOf(b.algorithm);
}
