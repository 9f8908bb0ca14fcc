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
  /** Fingerprint of the call that makes it. */
  readonly call: Buffer;
  /** Sealed. */
  readonly answer: Buffer;
  readonly ended: boolean;
  /** Whether the line of the advance keeps the answer, too. */
  readonly isSaved: boolean;
  /** Who makes it. Default: this replica. */
  readonly replica?: string | undefined;
}

/** What became of a move. Busy: its session is where the move begins, and another transaction holds it. */
export type Outcome = "moved" | "elsewhere" | "busy";

/**
 * The compare-and-set of any number of sessions, each at most once: those that are at the version and
 * digest of their move make it; the others stay as they are. It waits for nobody: one session that a
 * transaction holds must not hold up the others, nor two groups each other.
 *
 * @param service whose sessions they are. Default: the schema's own
 * @returns by session id
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
      // Bytes in arrays would go as text, at twice the size.
      Buffer.concat(
        moves.flatMap((move) => [move.head, move.nextHead, move.digest, move.parent, move.call]),
      ),
      Buffer.concat(moves.map(({ answer }) => answer)),
      startsOf(moves),
      moves.map(({ answer }) => answer.length),
      moves.map((move) => move.replica ?? replica),
      moves.map(({ isSaved }) => isSaved),
      service ?? null,
    ],
  });
  return new Map(rows.map((row) => [row.session_id, row.outcome]));
}

/** Where each answer starts in all of them together, from 1. */
function startsOf(moves: readonly Move[]): number[] {
  let next = 1;
  return moves.map(({ answer }) => {
    const start = next;
    next += answer.length;
    return start;
  });
}
