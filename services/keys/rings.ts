import { randomBytes } from "node:crypto";
import { type Ring, RingKey_State } from "#proto/waybill/keys/v1/keys.ts";
import type { Wrapping } from "#shared/credentials/wrapping.ts";
import type { Db, Pool } from "#shared/pg/pool.ts";
import { transaction } from "#shared/pg/transaction.ts";
import { bumpVersion } from "./sql/bumpVersion.ts";
import { insertKey } from "./sql/insertKey.ts";
import { insertRing } from "./sql/insertRing.ts";
import { type RingKeyRow, readRing } from "./sql/readRing.ts";
import { updateKey } from "./sql/updateKey.ts";

const STATES = {
  pending: RingKey_State.STATE_PENDING,
  active: RingKey_State.STATE_ACTIVE,
  retired: RingKey_State.STATE_RETIRED,
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

/**
 * The standing-by key seals from now on; the sealer opens only. Every replica has heard of the
 * standing-by key when it first heard of the ring, so none is shown a token whose key it lacks.
 *
 * @param record notes it, in the same transaction
 * @returns the ring's new version and sealer; undefined when the audience has no ring
 */
export function rotateRing(
  db: Pool,
  wrapping: Wrapping,
  audience: string,
  record: (tx: Db, rotated: Rotated) => Promise<void>,
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
    await changeState(tx, wrapping, active, "retired");
    await changeState(tx, wrapping, pending, "active");
    await insertKey(tx, newKey(wrapping, audience, "pending"));
    const rotated = { version, activeKeyId: pending.id };
    await record(tx, rotated);
    return rotated;
  });
}

async function changeState(
  tx: Db,
  wrapping: Wrapping,
  row: RingKeyRow,
  state: RingKeyRow["state"],
): Promise<void> {
  const wrapped = wrapping.wrap({ ...row, state }, wrapping.unwrap(row));
  await updateKey(tx, { ...row, state, wrappingKeyId: wrapping.id, wrapped });
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
      key: wrapping.unwrap(row),
      createTime: row.createdAt,
    })),
  };
}
