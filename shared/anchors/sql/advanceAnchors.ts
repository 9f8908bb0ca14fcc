import type { Db } from "../../pg/pool.ts";

/** A session's way from one version to the next. */
export interface Move {
  /** UUIDv7 in text form. */
  readonly sessionId: string;
  /** What the session must be at: version, and fingerprint of its chain digest. */
  readonly version: number;
  readonly head: Buffer;
  /** Fingerprints of the next version's chain digest, and of this one's. */
  readonly nextHead: Buffer;
  readonly digest: Buffer;
  readonly parent: Buffer;
  /** Sealed. */
  readonly answer: Buffer;
  readonly ended: boolean;
}

/**
 * The compare-and-set of any number of sessions, each at most once: those that are at the version and
 * digest of their move make it; the others stay as they are. Give the moves in the order of their
 * sessions' ids: their rows are locked in it, so that two groups never wait for each other.
 *
 * @returns the ids of the sessions that moved
 */
export async function advanceAnchors(
  db: Db,
  schema: string,
  replica: string,
  moves: readonly Move[],
): Promise<Set<string>> {
  const { rows } = await db.query<{ session_id: string }>({
    name: `${schema}.advanceAnchors`,
    text: `WITH move AS (
             SELECT * FROM unnest($1::uuid[], $2::integer[], $3::bytea[], $4::bytea[],
                                  $5::bytea[], $6::bytea[], $7::bytea[], $8::boolean[])
                        AS move (session_id, version, head, next_head,
                                 digest, parent, answer, ended)
           ), moved AS (
             UPDATE ${schema}.anchor
                SET version = anchor.version + 1,
                    head = move.next_head,
                    answer = move.answer,
                    ended = move.ended
               FROM move
              WHERE anchor.session_id = move.session_id
                AND anchor.version = move.version
                AND anchor.head = move.head
                AND NOT anchor.ended
             RETURNING anchor.session_id, anchor.version, move.digest, move.parent
           )
           INSERT INTO ${schema}.advance (session_id, version, digest, parent, replica)
           SELECT session_id, version, digest, parent, $9::text FROM moved
           RETURNING session_id`,
    values: [
      moves.map(({ sessionId }) => sessionId),
      moves.map(({ version }) => version),
      moves.map(({ head }) => head),
      moves.map(({ nextHead }) => nextHead),
      moves.map(({ digest }) => digest),
      moves.map(({ parent }) => parent),
      moves.map(({ answer }) => answer),
      moves.map(({ ended }) => ended),
      replica,
    ],
  });
  return new Set(rows.map((row) => row.session_id));
}
