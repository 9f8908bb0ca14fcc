import type { Db } from "waybill/postgres";

export interface RevocationRow {
  number: bigint;
  id: Buffer;
  kind: "subjectEpoch" | "family" | "token" | "session";
  target: string;
  epoch: number;
  owner: string;
  /** Remaining lifetime of the entry in whole seconds. */
  ttlS: number;
}

/** Maximum number of revocations per read. */
const LIMIT = 5000;

/**
 * Reads the unexpired revocations after a number, in order.
 *
 * @returns `number`: with these rows the reader has every revocation up to this number
 */
export async function readRevocations(
  db: Db,
  after: bigint,
): Promise<{ number: bigint; rows: RevocationRow[] }> {
  const { rows } = await db.query<
    { [Column in keyof RevocationRow]: RevocationRow[Column] | null } & { head: bigint }
  >(
    `SELECT feed.number AS head, revocation.number, id, kind, target, epoch, owner,
            ceil(extract(epoch FROM expires_at - now()))::integer AS "ttlS"
       FROM keys.feed
       LEFT JOIN LATERAL (
         SELECT * FROM keys.revocation
          WHERE revocation.number > $1::bigint AND expires_at > now()
          ORDER BY revocation.number
          LIMIT ${LIMIT}
       ) AS revocation ON true
      ORDER BY revocation.number`,
    [after],
  );
  const found = rows.filter((row) => row.number !== null) as RevocationRow[];
  const last = found.at(-1);
  const isCut = found.length === LIMIT && last !== undefined;
  return { number: isCut ? last.number : rows[0]!.head, rows: found };
}
