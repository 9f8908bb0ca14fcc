import type { Db } from "#shared/pg/pool.ts";

/** A refresh token that is presented. */
export interface Presented {
  /** Id of the audit event that it leaves. */
  eventId: string;
  family: string;
  generation: number;
  /** Digest of its idempotency key; null: none was sent. */
  redemption: Buffer | null;
  /** The client that presents it; empty: none. */
  client: string;
  /** The key that is proven with it, as the family keeps it; empty: none. */
  confirmation: string;
  /** The client has proven to be it, by more than the token. */
  isProven: boolean;
  address: string;
}

/** What became of it, and the family as it stands now. */
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
  /** Of a reuse: the revocation to deliver. */
  revocationId: Buffer | null;
}

/** How early somebody who has sent no idempotency key may come back, and in how many generations running. */
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
 * Presents refresh tokens of different families: the state machine of refresh.ts, in one statement.
 * The family's row is locked, so of many that come at once each finds what the one before has left.
 * Whatever becomes of a token, an audit event says so; a reuse also ends the family, and leaves the
 * revocation that the feed must hear of.
 *
 * Families that do not exist have no row in the answer.
 *
 * @param idleS how long a family lives without being refreshed
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
