import type { Db } from "../../pg/pool.ts";

/** A compare-and-set of one session, from a version to the next. */
export interface Move {
  /** UUIDv7 in text form. */
  readonly sessionId: string;
  /** The expected current version, and the fingerprint of its chain digest. */
  readonly version: number;
  readonly head: Buffer;
  /** Fingerprints of the next version's chain digest, for both tables, and of this one's. */
  readonly nextHead: Buffer;
  readonly digest: Buffer;
  readonly parent: Buffer;
  /** Fingerprint of the call. */
  readonly call: Buffer;
  /** Sealed. */
  readonly answer: Buffer;
  readonly ended: boolean;
  /** True if the row of the advance stores the response, too. */
  readonly isSaved: boolean;
  /** The replica that makes it. Default: this one. */
  readonly replica?: string | undefined;
}

/** Result of a move. `busy`: the session is at the expected version, but another transaction holds its row. */
export type Outcome = "moved" | "elsewhere" | "busy";

/**
 * Advances any number of sessions by compare-and-set, each at most once: a session that is at the version and
 * digest of its move advances; the others stay unchanged. It skips locked rows (SKIP LOCKED): a session that a
 * transaction holds must not block the others, and two groups must not block each other.
 *
 * @param service the sessions' service. Default: the schema's own
 * @returns outcomes by session id
 */
export async function advanceAnchors(
  db: Db,
  schema: string,
  replica: string,
  moves: readonly Move[],
  service?: string,
): Promise<Map<string, Outcome>> {
  const { rows } = await db.query<{ session_id: string; outcome: Outcome }>({
    name: `${schema}.advanceAnchors`,
    text: `WITH move AS (
             SELECT session_id, version, ended, kept, replica,
                    substr($4::bytea, at, 32) AS head,
                    substr($4::bytea, at + 32, 32) AS next_head,
                    substr($4::bytea, at + 64, 32) AS digest,
                    substr($4::bytea, at + 96, 32) AS parent,
                    substr($4::bytea, at + 128, 32) AS call,
                    substr($5::bytea, answer_at, answer_size) AS answer
               FROM unnest($1::uuid[], $2::integer[], $3::boolean[], $6::integer[], $7::integer[],
                           $9::boolean[], $8::text[]) WITH ORDINALITY
                      AS given (session_id, version, ended, answer_at, answer_size, kept, replica,
                                number),
                    LATERAL (SELECT 1 + 160 * (number::integer - 1)) AS packed (at)
           ), held AS (
             SELECT session_id FROM ${schema}.anchor
              WHERE session_id = ANY ($1::uuid[])
                FOR NO KEY UPDATE SKIP LOCKED
           ), moved AS (
             UPDATE ${schema}.anchor
                SET version = anchor.version + 1,
                    head = move.next_head,
                    answer = move.answer,
                    ended = move.ended
               FROM move JOIN held USING (session_id)
              WHERE anchor.session_id = move.session_id
                AND anchor.version = move.version
                AND anchor.head = move.head
                AND anchor.service IS NOT DISTINCT FROM $10::text
                AND NOT anchor.ended
             RETURNING anchor.session_id, anchor.version, move.digest, move.parent, move.call,
                       move.replica, CASE WHEN move.kept THEN move.answer END AS answer
           ), written AS (
             INSERT INTO ${schema}.advance (session_id, version, digest, parent, call, answer, replica)
             SELECT session_id, version, digest, parent, call, answer, replica FROM moved
             RETURNING session_id
           )
           SELECT move.session_id,
                  CASE WHEN written.session_id IS NOT NULL THEN 'moved'
                       WHEN held.session_id IS NULL
                        AND (SELECT version = move.version AND head = move.head AND NOT ended
                               FROM ${schema}.anchor
                              WHERE anchor.session_id = move.session_id
                                AND anchor.service IS NOT DISTINCT FROM $10::text) THEN 'busy'
                       ELSE 'elsewhere' END AS outcome
             FROM move LEFT JOIN held USING (session_id) LEFT JOIN written USING (session_id)`,
    values: [
      moves.map(({ sessionId }) => sessionId),
      moves.map(({ version }) => version),
      moves.map(({ ended }) => ended),
      // pg sends bytes in arrays as text, at twice the size.
      Buffer.concat(
        moves.flatMap((move) => [move.head, move.nextHead, move.digest, move.parent, move.call]),
      ),
      Buffer.concat(moves.map(({ answer }) => answer)),
      offsets(moves),
      moves.map(({ answer }) => answer.length),
      moves.map((move) => move.replica ?? replica),
      moves.map(({ isSaved }) => isSaved),
      service ?? null,
    ],
  });
  return new Map(rows.map((row) => [row.session_id, row.outcome]));
}

/** Returns the offset of each response in their concatenation, from 1. */
function offsets(moves: readonly Move[]): number[] {
  let next = 1;
  return moves.map(({ answer }) => {
    const start = next;
    next += answer.length;
    return start;
  });
}
