import { randomBytes } from "node:crypto";
import { type Ring, RingKey_State } from "#proto/waybill/keys/v1/keys.ts";
import type { Wrapping } from "#shared/credentials/wrapping.ts";
import type { Db, Pool } from "#shared/pg/pool.ts";
import { transaction } from "#shared/pg/transaction.ts";
import { bumpVersion } from "./sql/bumpVersion.ts";
import { insertKey } from "./sql/insertKey.ts";
import { insertRing } from "./sql/insertRing.ts";
import { readForeignKeys } from "./sql/readForeignKeys.ts";
import { type RingKeyRow, readRing } from "./sql/readRing.ts";
import { rewrapKey } from "./sql/rewrapKey.ts";
import { updateKey } from "./sql/updateKey.ts";

const STATES = {
  pending: RingKey_State.STATE_PENDING,
  active: RingKey_State.STATE_ACTIVE,
  retired: RingKey_State.STATE_RETIRED,
  destroyed: RingKey_State.STATE_DESTROYED,
} as const;

/**
 * The ring of an audience, made when there is none: one key that seals, one that stands by.
 *
 * @param record notes that it was made, in the same transaction
 */
export async function getOrMakeRing(
  db: Pool,
  wrapping: Wrapping,
  audience: string,
  record: (tx: Db) => Promise<void>,
): Promise<Ring> {
  const found = await readRing(db, audience);
  if (found !== undefined) return toMessage(audience, found, wrapping);
  await transaction(db, async (tx) => {
    // Whoever comes second waits here for the first, and finds that it is done.
    if (!(await insertRing(tx, audience))) return;
    await insertKey(tx, newKey(wrapping, audience, "active"));
    await insertKey(tx, newKey(wrapping, audience, "pending"));
    await record(tx);
  });
  const made = await readRing(db, audience);
  if (made === undefined) throw new Error(`the ring of ${audience} was made, but is not there`);
  return toMessage(audience, made, wrapping);
}

/** A ring after its rotation. */
export interface Rotated {
  version: number;
  activeKeyId: string;
}

/** What a rotation is to do otherwise than usual. */
export interface RotationOptions {
  /** A key that has leaked: destroyed. The sealer stays, unless it is that key. */
  readonly destroyKeyId?: string | undefined;
  /** Only when the sealer has sealed for so long, in seconds. */
  readonly dueS?: number;
}

/**
 * The standing-by key seals from now on; the sealer opens only. Every replica has heard of the
 * standing-by key when it first heard of the ring, so none is shown a token whose key it lacks.
 *
 * @param keepS how long what a key sealed may live, in seconds
 * @param record notes it, in the same transaction
 * @returns the ring's new version and sealer; undefined when the audience has no ring, or not that
 *   key, or nothing is due
 */
export function rotateRing(
  { db, wrapping, keepS }: { db: Pool; wrapping: Wrapping; keepS: number },
  audience: string,
  record: (tx: Db, rotated: Rotated) => Promise<void>,
  { destroyKeyId, dueS }: RotationOptions = {},
): Promise<Rotated | undefined> {
  return transaction(db, async (tx) => {
    const version = await bumpVersion(tx, audience);
    if (version === undefined) return undefined;
    const ring = await readRing(tx, audience);
    const active = ring?.keys.find((key) => key.state === "active");
    const pending = ring?.keys.find((key) => key.state === "pending");
    if (active === undefined || pending === undefined) {
      throw new Error(`the ring of ${audience} lacks its active or its pending key`);
    }
    if (dueS !== undefined && (active.activeForS ?? 0) < dueS) return undefined;
    const change = (row: RingKeyRow, state: RingKeyRow["state"]) =>
      updateKey(tx, { ...row, state, ...rewrapped(wrapping, row, state) }, keepS);
    const destroyed = ring?.keys.find(({ id }) => id === destroyKeyId);
    if (destroyKeyId !== undefined && destroyed === undefined) return undefined;
    if (destroyed !== undefined) await change(destroyed, "destroyed");
    let sealer = active;
    if (destroyed === undefined || destroyed === active) {
      if (destroyed === undefined) await change(active, "retired");
      await change(pending, "active");
      sealer = pending;
    }
    if (sealer === pending || destroyed === pending) {
      await insertKey(tx, newKey(wrapping, audience, "pending"));
    }
    const rotated = { version, activeKeyId: sealer.id };
    await record(tx, rotated);
    return rotated;
  });
}

/** Wraps anew what is wrapped with another key-encryption key. @returns how many keys */
export async function rewrapRings(db: Db, wrapping: Wrapping): Promise<number> {
  let count = 0;
  for (const row of await readForeignKeys(db, wrapping.id)) {
    if (await rewrapKey(db, row, rewrapped(wrapping, row, row.state))) count += 1;
  }
  return count;
}

/** The wrapping of a key in a state; of a destroyed one nothing is left. */
function rewrapped(
  wrapping: Wrapping,
  row: Pick<RingKeyRow, "id" | "audience" | "state" | "wrappingKeyId" | "wrapped">,
  state: RingKeyRow["state"],
): Pick<RingKeyRow, "wrappingKeyId" | "wrapped"> {
  if (state === "destroyed") return { wrappingKeyId: "", wrapped: Buffer.alloc(0) };
  return {
    wrappingKeyId: wrapping.id,
    wrapped: wrapping.wrap({ ...row, state }, wrapping.unwrap(row)),
  };
}

function newKey(wrapping: Wrapping, audience: string, state: RingKeyRow["state"]) {
  const row = { id: randomBytes(8).toString("base64url"), audience, state };
  return {
    ...row,
    wrappingKeyId: wrapping.id,
    wrapped: wrapping.wrap(row, randomBytes(32)),
  };
}

function toMessage(
  audience: string,
  { version, keys }: { version: number; keys: RingKeyRow[] },
  wrapping: Wrapping,
): Ring {
  return {
    audience,
    version,
    keys: keys.map((row) => ({
      id: row.id,
      state: STATES[row.state],
      key: row.state === "destroyed" ? Buffer.alloc(0) : wrapping.unwrap(row),
      createTime: row.createdAt,
    })),
  };
}
