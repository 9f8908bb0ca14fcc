import type { Db } from "../../pg/pool.ts";

/** A session's first version. */
export interface Beginning {
  /** UUIDv7 in text form. */
  readonly sessionId: string;
  /** Fingerprints of its chain digest. */
  readonly head: Buffer;
  readonly digest: Buffer;
  /** Sealed. */
  readonly answer: Buffer;
  /** The replica that begins it. Default: this one. */
  readonly replica?: string | undefined;
}

/** Anchors sessions at their first version. @param service the sessions' service. Default: the schema's own */
export async function insertAnchors(
  db: Db,
  schema: string,
  replica: string,
  beginnings: readonly Beginning[],
  service?: string,
): Promise<void> {
  await db.query({
    name: `${schema}.insertAnchors`,
    text: `WITH beginning AS (
             SELECT * FROM unnest($1::uuid[], $2::bytea[], $3::bytea[], $4::bytea[], $5::text[])
                        AS beginning (session_id, head, digest, answer, replica)
           ), anchored AS (
             INSERT INTO ${schema}.anchor (session_id, version, head, answer, service)
             SELECT session_id, 1, head, answer, $6::text FROM beginning
           )
           INSERT INTO ${schema}.advance (session_id, version, digest, replica)
           SELECT session_id, 1, digest, replica FROM beginning`,
    values: [
      beginnings.map(({ sessionId }) => sessionId),
      beginnings.map(({ head }) => head),
      beginnings.map(({ digest }) => digest),
      beginnings.map(({ answer }) => answer),
      beginnings.map((beginning) => beginning.replica ?? replica),
      service ?? null,
    ],
  });
}
