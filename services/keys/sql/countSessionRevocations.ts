import type { Db } from "waybill/postgres";
import type { NewRevocation } from "./insertRevocations.ts";

/**
 * Counts the revoked sessions per owner as if the given ones were on the feed, and returns the highest count
 * among owners that would gain one. Known ids are not counted twice. 0: no owner gains one.
 */
export async function countSessionRevocations(
  db: Db,
  sessions: Pick<NewRevocation, "id" | "owner">[],
): Promise<number> {
  const { rows } = await db.query<{ most: number }>(
    `SELECT coalesce(max(count), 0)::integer AS most
       FROM (SELECT count(DISTINCT given.id)
                    + (SELECT count(*) FROM keys.revocation
                        WHERE kind = 'session' AND revocation.owner = given.owner) AS count
               FROM unnest($1::bytea[], $2::text[]) AS given (id, owner)
              WHERE NOT EXISTS (SELECT FROM keys.revocation AS known WHERE known.id = given.id)
              GROUP BY given.owner) AS counted`,
    [sessions.map(({ id }) => id), sessions.map(({ owner }) => owner)],
  );
  return rows[0]!.most;
}
