import { inspect } from "node:util";
import type { DatabaseError, PoolClient } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { during } from "#shared/pg/during.ts";
import { databaseError, isUnavailable } from "#shared/pg/errors.ts";
import { createPool, type Pool } from "#shared/pg/pool.ts";
import { transaction } from "#shared/pg/transaction.ts";
import { sha256 } from "#shared/runtime/sha256.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";

let postgres: TestPostgres;
let pool: Pool;
let other: Pool;
beforeAll(async () => {
  postgres = await startTestPostgres();
});
afterAll(() => postgres?.remove());
beforeEach(async () => {
  pool = createPool(postgres.url, { max: 1, name: "pg", connectTimeoutMs: 500 });
  other = createPool(postgres.url, { max: 3, name: "other" });
  await other.query("DROP TABLE IF EXISTS thing; CREATE TABLE thing (id int PRIMARY KEY)");
});
afterEach(async () => {
  await Promise.all([pool.end(), other.end()]);
});

const count = async () => Number((await other.query("SELECT count(*) FROM thing")).rows[0].count);
const insert = (tx: PoolClient, id: number) => tx.query("INSERT INTO thing VALUES ($1)", [id]);
const terminate = async (client: PoolClient) => {
  const { rows } = await client.query("SELECT pg_backend_pid() AS pid");
  await other.query("SELECT pg_terminate_backend($1)", [rows[0].pid]);
};
const reasonOf = (error: unknown) => databaseError(error)?.reason;
/** The error that a promise rejects with. */
const thrown = (promise: Promise<unknown>): Promise<Error> =>
  promise.then(
    () => expect.unreachable("it was to be rejected"),
    (error: Error) => error,
  );

test("a value Postgres refuses is an INVALID_ARGUMENT", async () => {
  const refused: [what: string, sqlstate: string, statement: string, ...values: unknown[]][] = [
    ["NUL in text", "22021", "SELECT $1::text", "secret\0"],
    ["NUL in an array of texts", "22021", "SELECT $1::text[]", ["a", "secret\0"]],
    [
      "bytes that are no UTF-8",
      "22021",
      "SELECT convert_from($1::bytea, 'UTF8')",
      Buffer.from([255]),
    ],
    ["NUL in JSON", "22P05", "SELECT $1::jsonb", '{"a":"secret\\u0000"}'],
    ["text that is no number", "22P02", "SELECT $1::bigint", "secret"],
    ["text that is no UUID", "22P02", "SELECT $1::uuid", "secret"],
    ["text that is no JSON", "22P02", "SELECT $1::jsonb", "secret"],
    ["a number that is too large", "22003", "SELECT $1::integer", `${2n ** 40n}`],
    ["a number beyond all", "22003", "SELECT $1::bigint", `${2n ** 70n}`],
    ["text that is no time", "22007", "SELECT $1::timestamptz", "secret"],
    ["a day that is none", "22008", "SELECT $1::date", "2026-02-31"],
    ["text that is too long", "22001", "INSERT INTO short VALUES ($1)", "secret".repeat(10)],
    ["a pattern that ends too early", "22025", "SELECT 'secret+' LIKE $1::text", "secret\\"],
    [
      "text that is too long for its index",
      "54000",
      "INSERT INTO indexed VALUES ($1)",
      // The text does not repeat, so that Postgres cannot compress it.
      Array.from({ length: 500 }, (_, index) => sha256(`${index}`).toString("base64")).join(),
    ],
  ];
  await other.query(`DROP TABLE IF EXISTS short, indexed; CREATE TABLE short (text varchar(10));
    CREATE TABLE indexed (text text PRIMARY KEY)`);
  for (const [what, sqlstate, statement, ...values] of refused) {
    const error = await thrown(other.query(statement, values));
    expect((error as DatabaseError).code, what).toBe(sqlstate);
    const status = databaseError(error);
    expect(status?.reason, what).toBe("INVALID_FIELD");
    expect(inspect(status), what).not.toContain("secret");
    expect(isUnavailable(error), what).toBe(false);
  }
  // Errors that no request can cause remain internal errors.
  for (const statement of ["SELECT 1/0", "SELECT nothing", "SELECT substring('a', 1, -1)"]) {
    expect(reasonOf(await thrown(other.query(statement))), statement).toBeUndefined();
  }
});

test("a transaction commits on success, rolls back on error", async () => {
  expect(await transaction(pool, async (tx) => (await insert(tx, 1)).rowCount)).toBe(1);
  expect(await count()).toBe(1);
  const failed = transaction(pool, async (tx) => {
    await insert(tx, 2);
    throw new Error("changed my mind");
  });
  await expect(failed).rejects.toThrow("changed my mind");
  expect(await count()).toBe(1);
  // The pool's only connection is still usable.
  await transaction(pool, (tx) => insert(tx, 3));
  expect(await count()).toBe(2);
});

test("a broken connection fails its transaction and is replaced", async () => {
  const broken = transaction(pool, async (tx) => {
    await insert(tx, 1);
    await terminate(tx);
    await insert(tx, 2);
  });
  expect(reasonOf(await thrown(broken))).toBe("DATABASE_UNAVAILABLE");
  expect(await count()).toBe(0);
  await transaction(pool, (tx) => insert(tx, 3));
  expect(await count()).toBe(1);
});

test("an unknown outcome asks for a retry", async () => {
  const unsure = transaction(pool, async (tx) => {
    await insert(tx, 1);
    await terminate(tx);
  });
  await expect(unsure).rejects.toMatchObject({
    reason: "DATABASE_UNAVAILABLE",
    details: { retryAfterMs: 1000 },
  });
  await transaction(pool, (tx) => insert(tx, 1));
});

test("a cancelled caller's queued statement never starts", async () => {
  const holder = await pool.connect();
  const caller = new AbortController();
  const waiting = during(pool, caller).query("INSERT INTO thing VALUES (1)");
  caller.abort(new Error("gone"));
  holder.release();
  await expect(waiting).rejects.toThrow("gone");
  expect(await count()).toBe(0);
  // The call's connection is back in the pool.
  const here = new AbortController();
  await during(pool, here).query("INSERT INTO thing VALUES (1)");
  expect(await count()).toBe(1);
});

test("a failed statement keeps a working connection", async () => {
  const db = during(pool, new AbortController());
  const pid = async () => (await db.query("SELECT pg_backend_pid() AS pid")).rows[0]!["pid"];
  const before = await pid();
  await expect(db.query("SELECT 1 / 0")).rejects.toThrow("division by zero");
  expect(await pid()).toBe(before);
  expect(pool.totalCount).toBe(1);
  await thrown(db.query("SELECT pg_terminate_backend(pg_backend_pid())"));
  expect(await pid()).not.toBe(before);
});

test("database errors are classified by SQLSTATE", async () => {
  const run = (sql: string) => thrown(other.query(sql));
  expect(reasonOf(await run("SET statement_timeout = 1; SELECT pg_sleep(10)"))).toBe(
    "DATABASE_UNAVAILABLE",
  );
  const client = await other.connect();
  const holder = await other.connect();
  await holder.query("BEGIN; LOCK TABLE thing");
  const locked = client.query("SET lock_timeout = 1; INSERT INTO thing VALUES (1)");
  expect(reasonOf(await thrown(locked))).toBe("CONFLICT");
  await holder.query("COMMIT");

  await client.query("RESET lock_timeout; INSERT INTO thing VALUES (1), (2)");
  await client.query("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM thing");
  await holder.query("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM thing");
  await client.query("INSERT INTO thing VALUES (3); COMMIT");
  const skewed = holder.query("INSERT INTO thing VALUES (4); COMMIT");
  expect(reasonOf(await thrown(skewed))).toBe("CONFLICT");
  await holder.query("ROLLBACK");

  const terminated = client.query("SELECT pg_terminate_backend(pg_backend_pid())");
  expect(reasonOf(await thrown(terminated))).toBe("DATABASE_UNAVAILABLE");
  holder.release();
  client.release(true);

  // Our own mistake: a retry fails again.
  expect(reasonOf(await run("SELECT 1 / 0"))).toBeUndefined();
  expect(reasonOf(await run("SELECT * FROM nothing"))).toBeUndefined();
  expect(reasonOf(await run("INSERT INTO thing VALUES (1)"))).toBeUndefined();
  expect(reasonOf(new Error("anything"))).toBeUndefined();
  expect(reasonOf("text")).toBeUndefined();
});

test("an unreachable or full database is UNAVAILABLE", async () => {
  const nowhere = createPool("postgres://a@127.0.0.1:1/a", { max: 1, name: "pg" });
  expect(reasonOf(await thrown(nowhere.query("SELECT 1")))).toBe("DATABASE_UNAVAILABLE");
  await nowhere.end();
  const unknown = createPool("postgres://a@name.invalid/a", { max: 1, name: "pg" });
  expect(reasonOf(await thrown(unknown.query("SELECT 1")))).toBe("DATABASE_UNAVAILABLE");
  await unknown.end();
  const holder = await pool.connect();
  expect(reasonOf(await thrown(pool.query("SELECT 1")))).toBe("DATABASE_UNAVAILABLE");
  holder.release();
});

test("the server ends a statement at its timeout", async () => {
  const hasty = createPool(postgres.url, { max: 1, name: "hasty", statementTimeoutMs: 50 });
  const slow = await thrown(hasty.query("SELECT pg_sleep(60)"));
  expect(slow).toMatchObject({ code: "57014" });
  await hasty.end();
});
