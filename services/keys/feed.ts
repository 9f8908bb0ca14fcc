import { Feed, type Pool } from "waybill/postgres";
import type { Revocation, Revocations } from "#proto/waybill/keys/v1/keys.ts";
import { type RevocationRow, readRevocations } from "./sql/readRevocations.ts";

/** The revocation feed of one replica of the key service. */
export type RevocationsFeed = Feed<Revocations>;

/** @param pollMs interval at which watchers wake without a notification, in case one was lost */
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
