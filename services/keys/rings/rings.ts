import { randomBytes } from "node:crypto";
import type { Pool } from "waybill/postgres";
import { type Ring, RingKey_State } from "#proto/waybill/keys/v1/keys.ts";
import type { Wrapping } from "#shared/auth/credentials/wrapping.ts";
import { transaction } from "#shared/pg/transaction.ts";
import type { AuditEntry, AuditLog } from "../../auditLog/auditLog.ts";
import type { Versions } from "../versions.ts";
import { lockedRing, rewrapRings, saveRing, unwrapped } from "./ringStore.ts";
import { readAudiences } from "./sql/readAudiences.ts";
import { type RingRows, readRing } from "./sql/readRing.ts";
import {
  destroy,
  grant,
  type Lease,
  mend,
  type RingState,
  release,
  rotate,
  sweep,
  type Terms,
} from "./transitions.ts";

const STATES = {
  pending: RingKey_State.STATE_PENDING,
  active: RingKey_State.STATE_ACTIVE,
  retired: RingKey_State.STATE_RETIRED,
  destroyed: RingKey_State.STATE_DESTROYED,
} as const;

/** The actor of a ring change, for the audit event. */
export type Actor = Pick<AuditEntry, "actor" | "address" | "client">;

export interface RingsOptions {
  readonly db: Pool;
  readonly wrapping: Wrapping;
  readonly terms: Terms;
  readonly versions: Pick<Versions, "tell">;
  readonly audit: AuditLog;
}

/** A committed change of a ring. */
export interface RingChange {
  readonly before: RingState;
  readonly after: RingState;
  /** Seconds since 1970, by the database's clock. */
  readonly now: number;
  readonly ring: Ring;
}

/** The result of the maintenance of all rings. */
export interface Care {
  /** Number of maintained rings. */
  readonly done: number;
  /** Each names its ring or key. */
  readonly failures: readonly Error[];
}

/** The key rings in Postgres. Each change is a function of `transitions.ts`, applied under the ring's lock. */
export class Rings {
  readonly #options: RingsOptions;

  constructor(options: RingsOptions) {
    this.#options = options;
  }

  get terms(): Terms {
    return this.#options.terms;
  }

  /** Reads the ring of an audience. Creates a missing ring. */
  async get(audience: string, actor: Actor): Promise<Ring> {
    const found = await readRing(this.#options.db, audience);
    if (found !== undefined) return this.#toMessage(audience, found);
    const { ring } = await this.#change(audience, actor, "ring.make", (ring, now) =>
      mend(ring, now, makeId),
    );
    return ring;
  }

  /** Grants or renews a lease. @returns the ring at the moment of the grant */
  grant(
    audience: string,
    asked: Pick<Lease, "holder" | "acknowledged" | "reads">,
    actor: Actor,
  ): Promise<RingChange> {
    return this.#change(audience, actor, "ring.mend", (ring, now) =>
      grant(ring, asked, now, this.terms, makeId),
    );
  }

  release(audience: string, holder: string, actor: Actor): Promise<RingChange> {
    return this.#change(audience, actor, "ring.mend", (ring, now) =>
      release(ring, holder, now, makeId),
    );
  }

  /** Rotates a ring. Changes nothing while a lease holder has not acknowledged the pending keys. */
  rotate(audience: string, actor: Actor): Promise<RingChange> {
    return this.#change(audience, actor, "ring.rotate", (ring, now) =>
      rotate(ring, now, this.terms, makeId),
    );
  }

  /** Destroys a leaked key. Changes nothing if the ring has no such key. */
  destroy(audience: string, keyId: string, actor: Actor): Promise<RingChange> {
    return this.#change(audience, actor, "ring.destroyKey", (ring, now) =>
      destroy(ring, keyId, now, this.terms, makeId),
    );
  }

  /** Reads a ring with its leases and the time. Undefined if the ring does not exist. */
  async peek(audience: string): Promise<Pick<RingChange, "after" | "now"> | undefined> {
    const { db } = this.#options;
    if ((await readRing(db, audience)) === undefined) return undefined;
    return transaction(db, async (tx) => {
      const { state, now } = await lockedRing(tx, audience);
      return { after: state, now };
    });
  }

  /**
   * Maintains all rings: rewraps keys after a change of the key-encryption key, rotates rings whose active
   * key is due, and deletes keys after the last waybill sealed under them has expired. Any replica may run
   * it at any time. A failure in one ring, such as a changed row, does not stop the others.
   *
   * @param rotateS age at which an active key is rotated, in seconds
   */
  async maintain(rotateS: number): Promise<Care> {
    const { db, wrapping } = this.#options;
    const failures = await rewrapRings(db, wrapping);
    let done = 0;
    for (const audience of await readAudiences(db)) {
      try {
        await this.#careFor(audience, rotateS);
        done += 1;
      } catch (cause) {
        failures.push(new Error(`the ring of ${audience}`, { cause }));
      }
    }
    return { done, failures };
  }

  async #careFor(audience: string, rotateS: number): Promise<void> {
    const actor = { actor: "services/keys" };
    await this.#change(audience, actor, "ring.mend", (ring, now) => mend(ring, now, makeId));
    await this.#change(audience, actor, "ring.sweep", sweep);
    await this.#change(audience, actor, "ring.rotate", (ring, now) => {
      const active = ring.keys.find(({ state }) => state === "active");
      const isDue = active !== undefined && now - (active.activatedAt ?? 0) >= rotateS;
      return isDue ? rotate(ring, now, this.terms, makeId) : ring;
    });
  }

  async #change(
    audience: string,
    actor: Actor,
    action: string,
    transition: (ring: RingState, now: number) => RingState,
  ): Promise<RingChange> {
    const { db, wrapping, versions, audit } = this.#options;
    const target = `rings/${audience}`;
    const change = await transaction(db, async (tx) => {
      const locked = await lockedRing(tx, audience);
      const { state: before, now } = locked;
      const after = transition(before, now);
      const rows = await saveRing(tx, wrapping, audience, locked, after);
      if (after.version !== before.version) {
        const key = after.keys.find(({ state }) => state === "active")?.id ?? "";
        const destroyed = after.keys.find(
          ({ id, state }) =>
            state === "destroyed" &&
            before.keys.some((old) => old.id === id && old.state !== state),
        );
        const details = { key, ...(destroyed && { destroyed: destroyed.id }) };
        const made = before.version === 0 ? "ring.make" : action;
        await audit.writeWith(tx, { ...actor, action: made, target, details });
      }
      return { before, after, now, ring: this.#toMessage(audience, rows) };
    });
    if (change.after.version !== change.before.version) {
      versions.tell(audience, change.after.version);
    }
    return change;
  }

  #toMessage(audience: string, { version, keys }: RingRows): Ring {
    const { wrapping } = this.#options;
    return {
      audience,
      version,
      keys: keys.map((row) => ({
        id: row.id,
        state: STATES[row.state],
        key: row.state === "destroyed" ? Buffer.alloc(0) : unwrapped(wrapping, row),
        createTime: row.createdAt,
      })),
    };
  }
}

function makeId(): string {
  return randomBytes(8).toString("base64url");
}
