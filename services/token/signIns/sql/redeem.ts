import type { Db } from "waybill/postgres";

/** A refresh token that a client sends. */
export interface Presented {
  /** Id of the audit event: UUID. */
  eventId: string;
  family: string;
  generation: number;
  /** Digest of the idempotency key; null: none was sent. */
  redemption: Buffer | null;
  /** The calling client; empty: none. */
  client: string;
  /** The key that the call proves, in the format of the family row; empty: none. */
  confirmation: string;
  /** The call proves a client secret or a key. */
  isProven: boolean;
  address: string;
}

/** Outcome of a redemption, and the current family. */
export interface Redeemed {
  outcome: "next" | "same" | "early" | "foreign" | "ended" | "expired" | "reuse";
  family: string;
  generation: number;
  keyId: string;
  subject: string;
  client: string;
  scopes: string[];
  audiences: string[];
  epoch: number;
  confirmation: string;
  /** Seconds since the Unix epoch, by the database's clock. */
  nowS: number;
  expiresAtS: number;
  /** Id of the outbox entry to deliver, after a reuse. */
  revocationId: Buffer | null;
}

/** Limits of `early`: seconds since the last redemption, and consecutive generations. */
const EARLY_S = 10;
const MOST_EARLY_IN_A_ROW = 4;

const REDEEM = `WITH given AS (
   SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::bytea[], $5::text[],
                        $6::text[], $7::boolean[], $8::text[])
     AS given (event_id, id, generation, redemption, client, confirmation, is_proven, address)
 ), family AS (
   SELECT * FROM token.family WHERE id IN (SELECT id FROM given) ORDER BY id FOR UPDATE
 ), judged AS (
   SELECT family.*, given.event_id, given.redemption AS new_redemption,
          given.address AS new_address,
          CASE
            WHEN family.client <> given.client OR family.confirmation <> given.confirmation
              THEN 'foreign'
            WHEN ended_at IS NOT NULL THEN 'ended'
            WHEN idle_expires_at <= now() OR expires_at <= now() THEN 'expired'
            WHEN family.generation = given.generation THEN 'next'
            WHEN family.generation <> given.generation + 1 THEN 'reuse'
            WHEN given.is_proven OR family.redemption = given.redemption THEN 'same'
            WHEN family.redemption IS NULL AND given.redemption IS NULL
                 AND redeemed_at > now() - interval '${EARLY_S} seconds'
                 AND (graced OR graces < ${MOST_EARLY_IN_A_ROW})
              THEN 'early'
            ELSE 'reuse'
          END AS outcome
     FROM family JOIN given USING (id)
 ), changed AS (
   UPDATE token.family AS family
      SET generation = judged.generation + CASE outcome WHEN 'next' THEN 1 ELSE 0 END,
          redemption = CASE outcome WHEN 'next' THEN new_redemption ELSE judged.redemption END,
          redeemed_at = CASE outcome WHEN 'next' THEN now() ELSE judged.redeemed_at END,
          graced = outcome = 'early',
          graces = CASE
                     WHEN outcome = 'early' AND NOT judged.graced THEN judged.graces + 1
                     WHEN outcome = 'next' AND NOT judged.graced THEN 0
                     ELSE judged.graces
                   END,
          idle_expires_at = CASE outcome
                              WHEN 'next' THEN least(now() + $9::float8 * interval '1 second',
                                                     judged.expires_at)
                              ELSE judged.idle_expires_at
                            END,
          ended_at = CASE outcome WHEN 'reuse' THEN now() END,
          end_reason = CASE outcome WHEN 'reuse' THEN 'reuse' END
     FROM judged
    WHERE family.id = judged.id AND outcome IN ('next', 'early', 'reuse')
 ), left_over AS (
   INSERT INTO token.outbox (id, family)
   SELECT uuid_send(event_id), id FROM judged WHERE outcome = 'reuse'
 ), noted AS (
   INSERT INTO token.audit_event
          (id, action, outcome, actor, client, target, address, details)
   SELECT event_id,
          CASE outcome WHEN 'reuse' THEN 'token.reuse' ELSE 'token.refresh' END,
          CASE WHEN outcome IN ('next', 'same', 'early') THEN 'OK' ELSE 'INVALID_GRANT' END,
          subject, client, 'signIns/' || id, new_address,
          jsonb_build_object('outcome', outcome, 'generation', generation::text)
     FROM judged
 )
 SELECT outcome, id AS family, key_id AS "keyId", subject, client, scopes, audiences, epoch,
        confirmation, generation + CASE outcome WHEN 'next' THEN 1 ELSE 0 END AS generation,
        floor(extract(epoch FROM now()))::float8 AS "nowS",
        extract(epoch FROM expires_at)::float8 AS "expiresAtS",
        CASE outcome WHEN 'reuse' THEN uuid_send(event_id) END AS "revocationId"
   FROM judged`;

/**
 * Redeems refresh tokens of different families in one statement, by the table in refresh.ts. The row
 * lock orders concurrent redemptions of a family. Writes an audit event for each token. A reuse also
 * ends the family and adds an outbox entry.
 *
 * @param idleS longest time between two refreshes, in seconds
 * @returns no row for a family that does not exist
 */
export async function redeem(db: Db, tokens: Presented[], idleS: number): Promise<Redeemed[]> {
  const { rows } = await db.query<Redeemed>(REDEEM, [
    tokens.map((token) => token.eventId),
    tokens.map((token) => token.family),
    tokens.map((token) => token.generation),
    tokens.map((token) => token.redemption),
    tokens.map((token) => token.client),
    tokens.map((token) => token.confirmation),
    tokens.map((token) => token.isProven),
    tokens.map((token) => token.address),
    idleS,
  ]);
  return rows;
}
