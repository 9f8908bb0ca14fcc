import { Feed, type Pool } from "waybill/postgres";
import type { Revocation, Revocations } from "#proto/waybill/keys/v1/keys.ts";
import { type RevocationRow, readRevocations } from "./sql/readRevocations.ts";

/** What is revoked, as one replica of the key service hands it out. */
export type RevocationsFeed = Feed<Revocations>;

/** @param pollMs how often watchers are woken though nothing was heard of */
export function revocationsFeed(db: Pool, pollMs?: number): RevocationsFeed {
  const read = async (after: bigint): Promise<Revocations> => {
    const { number, rows } = await readRevocations(db, after);
    return { afterNumber: after, number, revocations: rows.map(toMessage) };
  };
  return new Feed(read, pollMs);
}

function toMessage(row: RevocationRow): Revocation {
  return { id: row.id, target: targetOf(row), ttl: { seconds: BigInt(row.ttlS), nanos: 0 } };
}

function targetOf({ kind, target, epoch, owner }: RevocationRow): Revocation["target"] {
  switch (kind) {
    case "subjectEpoch":
      return { $case: kind, value: { subject: target, epoch } };
    case "session":
      return { $case: kind, value: { id: target, owner } };
    default:
      return { $case: kind, value: target };
  }
}
