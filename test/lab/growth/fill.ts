import type { Client } from "pg";

/**
 * Fills the tables that grow with calls with a million rows each, and the others with at least their
 * expected maximum. A spilled state is stored out of line (TOAST), so its row is as small as these.
 */
const FILLS = [
  // A million sessions that began in the last six hours, with their advances, directory entries and orders.
  `WITH made AS (
     SELECT overlay(overlay(checkout.session_id_at(now() - number * interval '20 ms')::text
              PLACING '7' FROM 15) PLACING lpad(to_hex(number), 12, '0') FROM 25)::uuid AS id, number
       FROM generate_series(0, 999999) AS number
   ), anchors AS (
     INSERT INTO checkout.anchor (session_id, version, head, answer)
     SELECT id, 2, sha256(id::text::bytea), sha256(id::text::bytea) FROM made
   ), advances AS (
     INSERT INTO checkout.advance (session_id, version, digest, replica)
     SELECT id, 2, sha256(id::text::bytea), 'r' FROM made
   ), spills AS (
     INSERT INTO checkout.spill (session_id, address, content)
     SELECT id, sha256(id::text::bytea), sha256(id::text::bytea) FROM made
   ), checkpoints AS (
     INSERT INTO session.checkpoint SELECT id, 2, sha256(id::text::bytea) FROM made
   ), entries AS (
     INSERT INTO session.directory
     SELECT id, 'users/' || number % 1000, 'checkout', now() + interval '1 day' FROM made
   ), stock AS (
     INSERT INTO checkout.stock SELECT number + 1, 100 FROM made
   )
   INSERT INTO checkout."order" (id, subject, content)
   SELECT id, 'users/' || number % 1000, sha256(id::text::bytea) FROM made`,
  `INSERT INTO identity."user" (id, username, secret_hash)
   SELECT uuidv7(), 'user-' || number, md5(number::text) FROM generate_series(1, 1000000) AS number`,
  `INSERT INTO identity.service_account (id)
   SELECT 'a-' || number FROM generate_series(1, 100000) AS number`,
  `INSERT INTO identity.issuer (id, issuer, jwks_uri)
   SELECT 'i-' || number, 'https://' || number || '.example', 'https://' || number || '.example/jwks'
     FROM generate_series(1, 1000) AS number`,
  `INSERT INTO identity.scope (id, granted_to_users)
   SELECT 's-' || number, number % 2 = 0 FROM generate_series(1, 100) AS number`,
  `INSERT INTO identity.audience (id, granted_to_users)
   SELECT 'a-' || number, true FROM generate_series(1, 100) AS number`,
  `INSERT INTO identity.attempt (key, count, window_ends_at)
   SELECT sha256(number::text::bytea), 1, now() + number * interval '3 ms'
     FROM generate_series(1, 1000000) AS number`,
  `INSERT INTO identity.known_address (key, seen_at)
   SELECT sha256(number::text::bytea), now() - number * interval '7 s'
     FROM generate_series(1, 1000000) AS number`,
  // One hour of undelivered outbox entries.
  `INSERT INTO identity.outbox (id, subject, epoch)
   SELECT uuid_send(uuidv4()), 'users/' || number, 1 FROM generate_series(1, 100000) AS number`,
  `INSERT INTO token.outbox (id, family)
   SELECT uuid_send(uuidv4()), uuidv7() FROM generate_series(1, 100000) AS number`,
  // Ten sign-ins per user, some of them ended.
  `INSERT INTO token.family (id, subject, client, scopes, audiences, epoch, device, address,
                             confirmation, key_id, idle_expires_at, expires_at, ended_at)
   SELECT uuidv7(), 'users/' || number % 100000, 'app', '{}', '{checkout,session}', 1, 'laptop',
          '203.0.113.7', '', 'key', now() + interval '1 month', now() + number * interval '8 s',
          CASE WHEN number % 7 = 0 THEN now() END
     FROM generate_series(1, 1000000) AS number`,
  `INSERT INTO token.ended_subject (subject, epoch)
   SELECT 'users/' || number, 2 FROM generate_series(1, 100000) AS number`,
  `INSERT INTO token.spent (digest, expires_at)
   SELECT sha256(number::text::bytea), now() + number * interval '1 ms'
     FROM generate_series(1, 1000000) AS number`,
  `INSERT INTO token.grant_window (client, taken, ends_at)
   SELECT 'serviceAccounts/a-' || number, 10, now() + interval '1 minute'
     FROM generate_series(1, 100000) AS number`,
  `INSERT INTO keys.revocation (number, id, kind, target, epoch, owner, expires_at)
   SELECT number, uuid_send(uuidv4()), CASE number % 10 WHEN 0 THEN 'family' ELSE 'session' END,
          uuidv7(), 0, CASE number % 10 WHEN 0 THEN '' ELSE 'users/' || number % 100000 END,
          now() + number * interval '80 ms'
     FROM generate_series(1, 1000000) AS number`,
  "UPDATE keys.feed SET number = 1000000",
  // As many changes of products as the feed retains.
  `INSERT INTO catalog.change (number, product_id)
   SELECT number, number % 3201 + 1 FROM generate_series(1, 10000) AS number`,
  "UPDATE catalog.feed SET number = 10000",
  // A thousand services with their own rings and twenty replicas each.
  `INSERT INTO keys.ring (audience, version)
   SELECT 'a-' || number, 9 FROM generate_series(1, 1000) AS number`,
  `INSERT INTO keys.ring_key (id, audience, state, wrapping_key_id, wrapped, since_version)
   SELECT left(md5(audience || nth), 11), audience,
          CASE nth WHEN 1 THEN 'active' WHEN 2 THEN 'pending' ELSE 'retired' END, 'k',
          sha256(audience::bytea), 9
     FROM keys.ring, generate_series(1, 5) AS nth`,
  `INSERT INTO keys.lease (audience, holder, acknowledged_version, reads_revision, expires_at)
   SELECT audience, 'host/' || nth, 9, 1, now() + interval '30 s'
     FROM keys.ring, generate_series(1, 20) AS nth`,
];

/** Fills the tables of all services and runs ANALYZE, like autovacuum. */
export async function fill(client: Client): Promise<void> {
  for (const schema of ["checkout", "session"]) {
    // Partitions that reach far enough back, as replicas would have created them in time.
    await client.query(`SELECT ${schema}.keep_partitions('6 hours', '1 day')`);
  }
  for (const statement of FILLS) await client.query(statement);
  // Autovacuum ignores tables without writes.
  const { rows } = await client.query<{ name: string }>(`
    SELECT oid::regclass::text AS name FROM pg_class
     WHERE relkind = 'r' AND pg_relation_size(oid) > 0
       AND relnamespace::regnamespace::text
           IN ('keys', 'identity', 'token', 'session', 'catalog', 'checkout')`);
  for (const { name } of rows) await client.query(`ANALYZE ${name}`);
}
