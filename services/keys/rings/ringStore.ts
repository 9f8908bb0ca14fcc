import { randomBytes } from "node:crypto";
import { status } from "@grpc/grpc-js";
import { vocabulary } from "waybill";
import type { Db } from "waybill/postgres";
import type { Wrapping } from "#shared/auth/credentials/wrapping.ts";
import { deleteKeys } from "./sql/deleteKeys.ts";
import { deleteLeases } from "./sql/deleteLeases.ts";
import { insertKey } from "./sql/insertKey.ts";
import { insertRing } from "./sql/insertRing.ts";
import { lockRing } from "./sql/lockRing.ts";
import { readForeignKeys } from "./sql/readForeignKeys.ts";
import { readLeases } from "./sql/readLeases.ts";
import { type RingKeyRow, type RingRows, readRing } from "./sql/readRing.ts";
import { rewrapKey } from "./sql/rewrapKey.ts";
import { updateKey } from "./sql/updateKey.ts";
import { updateVersion } from "./sql/updateVersion.ts";
import { upsertLease } from "./sql/upsertLease.ts";
import type { KeyState, RingState } from "./transitions.ts";

export const KeysErrors = vocabulary("keys.waybill", {
  ROTATION_PENDING: [
    status.UNAVAILABLE,
    "Some replicas have not yet acknowledged the pending keys. Retry: the lease of a killed replica expires by itself.",
  ],
  RING_UNREADABLE: [
    status.INTERNAL,
    "A key of the ring does not unwrap: its row was changed, or it was wrapped with another key-encryption key. The key service's log names the key.",
  ],
  RING_NOT_FOUND: [status.NOT_FOUND, "The ring, or the key to destroy, does not exist."],
});

/** A ring that was read under its lock, with the time of the read. */
export interface LockedRing {
  readonly state: RingState;
  readonly rows: RingRows;
  /** Seconds since 1970, by the database's clock. */
  readonly now: number;
}

/** Reads a ring and locks it until the transaction ends. Creates a missing ring, without keys. */
export async function lockedRing(tx: Db, audience: string): Promise<LockedRing> {
  if (!(await lockRing(tx, audience))) {
    await insertRing(tx, audience);
    await lockRing(tx, audience);
  }
  const rows = (await readRing(tx, audience)) ?? { version: 0, keys: [] };
  const { now, leases } = await readLeases(tx, audience);
  return { state: { version: rows.version, keys: rows.keys.map(toState), leases }, rows, now };
}

/** Writes the difference between a ring's old and new state. @returns the new rows */
export async function saveRing(
  tx: Db,
  wrapping: Wrapping,
  audience: string,
  { state: before, rows }: LockedRing,
  after: RingState,
): Promise<RingRows> {
  for (const lease of after.leases) {
    if (!before.leases.includes(lease)) await upsertLease(tx, audience, lease);
  }
  const ended = before.leases.filter((old) => !after.leases.some((l) => l.holder === old.holder));
  if (ended.length > 0) {
    await deleteLeases(
      tx,
      audience,
      ended.map(({ holder }) => holder),
    );
  }
  if (after.version === before.version) return rows;
  await updateVersion(tx, audience, after.version);
  const gone = before.keys.filter((old) => !after.keys.some(({ id }) => id === old.id));
  await deleteKeys(
    tx,
    audience,
    gone.map(({ id }) => id),
  );
  // The key that stops sealing is written first: the unique index allows one active key.
  const keys = after.keys.filter((key) => !before.keys.includes(key));
  keys.sort((one, other) => Number(one.state === "active") - Number(other.state === "active"));
  for (const key of keys) {
    const { id, state, since, activatedAt = null, openUntil = null } = key;
    const times = { activatedAt, openUntil };
    const row = rows.keys.find((each) => each.id === id);
    if (row === undefined) {
      const wrapped = wrapping.wrap({ id, audience, state }, randomBytes(32));
      const wrappingKeyId = wrapping.id;
      await insertKey(tx, { id, audience, state, since, wrappingKeyId, wrapped, ...times });
    } else {
      await updateKey(tx, { ...rewrapped(wrapping, row, state), id, audience, state, ...times });
    }
  }
  return (await readRing(tx, audience))!;
}

/** Rewraps every key that another key-encryption key has wrapped. @returns one error per failed key */
export async function rewrapRings(db: Db, wrapping: Wrapping): Promise<Error[]> {
  const failures: Error[] = [];
  for (const row of await readForeignKeys(db, wrapping.id)) {
    try {
      await rewrapKey(db, row, rewrapped(wrapping, row, row.state));
    } catch (cause) {
      failures.push(new Error(`key ${row.id} in the ring of ${row.audience}`, { cause }));
    }
  }
  return failures;
}

/** Wraps a key for a state. A destroyed key's bytes are erased. */
function rewrapped(
  wrapping: Wrapping,
  row: Pick<RingKeyRow, "id" | "audience" | "state" | "wrappingKeyId" | "wrapped">,
  state: RingKeyRow["state"],
): Pick<RingKeyRow, "wrappingKeyId" | "wrapped"> {
  if (state === "destroyed") return { wrappingKeyId: "", wrapped: Buffer.alloc(0) };
  return {
    wrappingKeyId: wrapping.id,
    wrapped: wrapping.wrap({ ...row, state }, unwrapped(wrapping, row)),
  };
}

/** @throws StatusError RING_UNREADABLE */
export function unwrapped(wrapping: Wrapping, row: Parameters<Wrapping["unwrap"]>[0]): Buffer {
  try {
    return wrapping.unwrap(row);
  } catch (cause) {
    throw KeysErrors.RING_UNREADABLE({ cause, alarm: true });
  }
}

function toState({ id, state, since, activatedAt, openUntil }: RingKeyRow): KeyState {
  return {
    id,
    state,
    since,
    activatedAt: activatedAt ?? undefined,
    openUntil: openUntil ?? undefined,
  };
}
