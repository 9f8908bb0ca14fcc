import { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { advanceAnchors } from "#shared/anchors/sql/advanceAnchors.ts";
import { insertAnchors } from "#shared/anchors/sql/insertAnchors.ts";
import { insertSpill } from "#shared/anchors/sql/insertSpill.ts";
import { readAdvance } from "#shared/anchors/sql/readAdvance.ts";
import { readAnchor } from "#shared/anchors/sql/readAnchor.ts";
import { readCheckpoint } from "#shared/anchors/sql/readCheckpoint.ts";
import { readKeptAnswers } from "#shared/anchors/sql/readKeptAnswers.ts";
import { readSpill } from "#shared/anchors/sql/readSpill.ts";
import { upsertCheckpoints } from "#shared/anchors/sql/upsertCheckpoints.ts";
import type { Db } from "#shared/pg/pool.ts";
import { newUuid } from "#shared/waybill/ids.ts";
import { insertOrder } from "../../services/checkout/sql/insertOrder.ts";
import { listOrders } from "../../services/checkout/sql/listOrders.ts";
import { readOrder } from "../../services/checkout/sql/readOrder.ts";
import { takeStock } from "../../services/checkout/sql/takeStock.ts";
import { insertEntries } from "../../services/session/sql/insertEntries.ts";
import { listEntries } from "../../services/session/sql/listEntries.ts";
import { readEntry } from "../../services/session/sql/readEntry.ts";
import { migratedPostgres, type TestPostgres } from "../fixtures/postgres.ts";

let postgres: TestPostgres;
let client: Client;

/** A million sessions that began in the last six hours, with their lines, entries and orders. */
const FILL = `
  WITH made AS (
    SELECT overlay(overlay(checkout.session_id_at(now() - number * interval '20 ms')::text
             PLACING '7' FROM 15) PLACING lpad(to_hex(number), 12, '0') FROM 25)::uuid AS id, number
      FROM generate_series(0, 999999) AS number
  ), anchors AS (
    INSERT INTO checkout.anchor (session_id, version, head, answer)
    SELECT id, 2, sha256(id::text::bytea), sha256(id::text::bytea) FROM made
  ), advances AS (
    INSERT INTO checkout.advance (session_id, version, digest, replica)
    SELECT id, 2, sha256(id::text::bytea), 'r' FROM made
  ), checkpoints AS (
    INSERT INTO session.checkpoint SELECT id, 2, sha256(id::text::bytea) FROM made
  ), entries AS (
    INSERT INTO session.directory
    SELECT id, 'users/' || number % 1000, 'checkout', now() + interval '1 day' FROM made
  ), stock AS (
    INSERT INTO checkout.stock SELECT number + 1, 100 FROM made
  )
  INSERT INTO checkout."order" (id, subject, content)
  SELECT id, 'users/' || number % 1000, sha256(id::text::bytea) FROM made`;

beforeAll(async () => {
  postgres = await migratedPostgres();
  client = new Client({ connectionString: postgres.url });
  await client.connect();
  for (const schema of ["checkout", "session"]) {
    // Partitions that reach back far enough, as a replica would have made them in time.
    await client.query(`SELECT ${schema}.keep_partitions('6 hours', '1 day')`);
  }
  await client.query(FILL);
  // What autovacuum would do: it leaves tables alone that nothing was written to.
  const { rows } = await client.query<{ name: string }>(`
    SELECT oid::regclass::text AS name FROM pg_class
     WHERE relkind = 'r' AND pg_relation_size(oid) > 0
       AND relnamespace IN ('checkout'::regnamespace, 'session'::regnamespace)`);
  for (const { name } of rows) await client.query(`ANALYZE ${name}`);
}, 300_000);
afterAll(async () => {
  await client?.end();
  await postgres?.remove();
});

const ids = Array.from({ length: 50 }, () => newUuid()).sort();
const bytes = Buffer.alloc(32);
const lines = [
  { productId: 1n, quantity: 1 },
  { productId: 5000n, quantity: 2 },
];
const moves = ids.map((sessionId) => ({
  sessionId,
  version: 2,
  head: bytes,
  nextHead: bytes,
  digest: bytes,
  parent: bytes,
  call: bytes,
  answer: bytes,
  ended: false,
  isKept: false,
}));
const begun = ids.map((sessionId) => ({ sessionId, head: bytes, digest: bytes, answer: bytes }));
const entries = ids.map((id) => ({ id, subject: "users/1", audience: "a", expiresAt: Date.now() }));
const checkpoints = ids.map((sessionId) => ({ sessionId, version: 2, content: bytes }));
const order = { id: ids[0]!, subject: "users/1", content: bytes };
const position = { createdAt: new Date().toISOString(), id: ids[0]! };

const STATEMENTS: Record<string, (db: Db) => Promise<unknown>> = {
  "a group's advances": (db) => advanceAnchors(db, "checkout", "r", moves),
  "what a stream's caller has missed": (db) => readKeptAnswers(db, "checkout", ids[0]!, 2, 20),
  "one advance": (db) => advanceAnchors(db, "checkout", "r", moves.slice(0, 1)),
  "a group's begins": (db) => insertAnchors(db, "checkout", "r", begun),
  "a line of an advance": (db) => readAdvance(db, "checkout", ids[0]!, 2),
  "a spilled state": (db) => readSpill(db, "checkout", ids[0]!, bytes),
  "a state to be spilled": (db) =>
    insertSpill(db, "checkout", { sessionId: ids[0]!, address: bytes, content: bytes }, 100),
  "a checkpoint": (db) => readCheckpoint(db, "session", ids[0]!),
  "a group's checkpoints": (db) => upsertCheckpoints(db, "session", checkpoints),
  "an anchor": (db) => readAnchor(db, "checkout", ids[0]!),
  "a locked anchor": (db) => readAnchor(db, "checkout", ids[0]!, undefined, true),
  "an entry": (db) => readEntry(db, ids[0]!, "users/1"),
  "a group's entries": (db) => insertEntries(db, entries),
  "a list of sessions": (db) => listEntries(db, "users/1", undefined, 26),
  "a later page of sessions": (db) => listEntries(db, "users/1", ids[0], 26),
  "an order": (db) => readOrder(db, ids[0]!, "users/1"),
  "a new order": (db) => insertOrder(db, order),
  "a list of orders": (db) => listOrders(db, "users/1", undefined, 26),
  "a later page of orders": (db) => listOrders(db, "users/1", position, 26),
  "taking stock": (db) => takeStock(db, lines),
};

interface Plan {
  "Node Type": string;
  "Relation Name"?: string;
  Plans?: Plan[];
}

/** The tables that a plan reads from one end to the other. */
function scanned(plan: Plan): string[] {
  const own = plan["Node Type"] === "Seq Scan" ? [plan["Relation Name"] ?? ""] : [];
  return [...own, ...(plan.Plans ?? []).flatMap(scanned)];
}

/** Asks for plans in the place of running statements: by the values given, and for any values. */
function planner(plans: Plan[]): Db {
  return {
    async query(statement: string | { text: string; values?: unknown[] }, more?: unknown[]) {
      const { text, values = more } =
        typeof statement === "string" ? { text: statement, values: more } : statement;
      for (const [how, given] of [
        ["FORMAT JSON", values],
        ["FORMAT JSON, GENERIC_PLAN", undefined],
      ] as const) {
        const { rows } = await client.query(`EXPLAIN (${how}) ${text}`, given as unknown[]);
        plans.push((rows[0]["QUERY PLAN"] as { Plan: Plan }[])[0]!.Plan);
      }
      return { rows: [], rowCount: 0 };
    },
  } as unknown as Db;
}

test("the test would see a scan", async () => {
  const plans: Plan[] = [];
  await planner(plans).query('SELECT FROM checkout."order" WHERE content = $1::bytea', [bytes]);
  expect(plans.flatMap(scanned)).not.toEqual([]);
});

test.each(Object.entries(STATEMENTS))("no table is scanned for %s", async (_, run) => {
  const plans: Plan[] = [];
  await run(planner(plans)).catch(() => {});
  expect(plans).toHaveLength(2);
  expect(plans.flatMap(scanned)).toEqual([]);
});
