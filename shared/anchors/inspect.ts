import { Envelope, type EnvelopeV1 } from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import { StatusError } from "../errors.ts";
import type { Db } from "../pg/pool.ts";
import type { RingSource } from "../rings/ring.ts";
import { uuidFromBytes } from "../runtime/uuid.ts";
import { fingerprint } from "../waybill/chain.ts";
import { fromCompact } from "../waybill/jwe.ts";
import { Opener } from "../waybill/opener.ts";
import { MAX_VERSION } from "../waybill/sessions.ts";
import { readAdvance } from "./sql/readAdvance.ts";
import { readAnchor } from "./sql/readAnchor.ts";

/** The result of inspecting a waybill. */
export interface Finding {
  /**
   * - `genuine`: it matches the recorded chain of its session.
   * - `fork`: it was sealed under the audience's keys, but the session has another chain at that version.
   * - `unknown`: no advance to that version is recorded.
   * - `carried`: its session has no anchor.
   * - `destroyed`: its key was destroyed, so it cannot be opened.
   * - `forged`: it was sealed under the audience's keys, with content that no replica seals.
   * - `invalid`: it is not a waybill of the audience.
   */
  readonly verdict: "genuine" | "fork" | "unknown" | "carried" | "destroyed" | "forged" | "invalid";
  readonly session?: string;
  readonly version?: number;
  readonly subject?: string;
  /** The current version of its session. */
  readonly newest?: number;
  readonly ended?: boolean;
  /** The replica that made the recorded version, and when (RFC 3339). */
  readonly replica?: string;
  readonly time?: string;
}

/** Compares waybills with the recorded chains of their sessions, to find forks and forgeries. */
export class Inspector {
  readonly #db: Db;
  readonly #schema: string;
  readonly #opener: Opener;
  readonly #service: string | undefined;

  /** @param service the sessions' service, where it has no schema of its own. Default: the schema's own */
  constructor(db: Db, schema: string, audience: string, ring: RingSource, service?: string) {
    this.#service = service;
    this.#db = db;
    this.#schema = schema;
    this.#opener = new Opener("waybill", audience, ring);
  }

  /** @throws StatusError KEYS_UNAVAILABLE */
  async inspect(waybill: string): Promise<Finding> {
    const plaintext = await this.#open(waybill);
    if (plaintext === "destroyed") return { verdict: "destroyed" };
    if (plaintext === undefined) return { verdict: "invalid" };
    const envelope = decode(plaintext);
    if (envelope === undefined) return { verdict: "forged" };
    const { version, subject, digest, parentDigest } = envelope;
    const id = uuidFromBytes(envelope.sessionId);
    const about = { session: `sessions/${id}`, version, subject };
    const anchor = await readAnchor(this.#db, this.#schema, id, this.#service);
    if (digest.length === 0) return { verdict: anchor ? "forged" : "carried", ...about };
    const stand = anchor && { newest: anchor.version, ended: anchor.ended };
    const row = await readAdvance(this.#db, this.#schema, id, version);
    if (row === undefined) return { verdict: "unknown", ...about, ...stand };
    const parent = parentDigest.length === 0 ? null : fingerprint("advance", parentDigest);
    const isGenuine =
      row.digest.equals(fingerprint("advance", digest)) &&
      (parent === null ? row.parent === null : row.parent?.equals(parent) === true);
    const made = { replica: row.replica, time: row.createdAt.toISOString() };
    return { verdict: isGenuine ? "genuine" : "fork", ...about, ...stand, ...made };
  }

  async #open(waybill: string): Promise<Buffer | "destroyed" | undefined> {
    const sealed = fromCompact(waybill);
    try {
      return sealed && (await this.#opener.open(sealed));
    } catch (error) {
      if (error instanceof StatusError && error.reason === "WAYBILL_REVOKED") return "destroyed";
      throw error;
    }
  }
}

/** Decodes content that a stolen key may have sealed. @returns undefined for content that no replica seals */
function decode(plaintext: Buffer): EnvelopeV1 | undefined {
  try {
    const { version } = Envelope.decode(plaintext);
    if (version?.$case !== "v1") return undefined;
    const { value } = version;
    return value.sessionId.length === 16 && value.version < MAX_VERSION ? value : undefined;
  } catch {
    return undefined;
  }
}
