import type { Db } from "waybill/postgres";

/** Notification channel for new revocations. */
export const FEED_CHANNEL = "waybill_feed";

export interface NewRevocation {
  id: Buffer;
  kind: "subjectEpoch" | "family" | "token" | "session";
  target: string;
  epoch: number;
  /** For sessions: the owner whose limit the entry counts against. */
  owner: string;
  ttlS: number;
}

/** Adds revocations with new ids to the feed and notifies all replicas. @returns the feed's number */
export async function insertRevocations(db: Db, rows: NewRevocation[]): Promise<bigint> {
  const { rows: answer } = await db.query<{ number: bigint }>(
    `WITH fresh AS (
       SELECT given.*, row_number() OVER (ORDER BY place) AS nth, count(*) OVER () AS total
         FROM unnest($1::bytea[], $2::text[], $3::text[], $4::integer[], $5::text[],
                     $6::integer[])
              WITH ORDINALITY AS given (id, kind, target, epoch, owner, ttl_s, place)
        WHERE NOT EXISTS (SELECT FROM keys.revocation AS known WHERE known.id = given.id)
     ), head AS (
       UPDATE keys.feed SET number = number + (SELECT count(*) FROM fresh) RETURNING number
     ), added AS (
       INSERT INTO keys.revocation (number, id, kind, target, epoch, owner, expires_at)
       SELECT head.number - total + nth, id, kind, target, epoch, owner, now() + ttl_s * interval '1 second'
         FROM fresh, head
       ON CONFLICT (id) DO NOTHING
     )
     SELECT number, pg_notify('${FEED_CHANNEL}', '') FROM head`,
    [
      rows.map((row) => row.id),
      rows.map((row) => row.kind),
      rows.map((row) => row.target),
      rows.map((row) => row.epoch),
      rows.map((row) => row.owner),
      rows.map((row) => row.ttlS),
    ],
  );
  return answer[0]!.number;
}
