import { readFileSync } from "node:fs";
import { type AddressInfo, createServer, type Socket } from "node:net";
import pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { CatalogServiceService, Product } from "#proto/waybill/catalog/v1/catalog.ts";
import { Mode } from "#proto/waybill/options/v1/options.ts";
import { createClient, type ServiceClient } from "#shared/client/client.ts";
import { Errors, type StatusError } from "#shared/errors.ts";
import { createPool, type Db, type Pool, type PoolOptions } from "#shared/pg/pool.ts";
import { transaction } from "#shared/pg/transaction.ts";
import { Server, type ServerOptions } from "#shared/server/server.ts";
import { contract, makeClients } from "../support/clients.ts";
import { migratedPostgres, type TestPostgres } from "../support/postgres.ts";
import { refusal } from "../support/refusal.ts";
import { makeRings, serveSessions } from "../support/servers/anchoredServer.ts";
import { REST_OF_CATALOG } from "../support/servers/catalogHandlers.ts";
import { step } from "../support/step.ts";
import { waitFor } from "../support/waitFor.ts";

const UNAVAILABLE = { code: 14, reason: "DATABASE_UNAVAILABLE", retryAfterMs: 1000 };

let postgres: TestPostgres;
let owner: Pool;
/** Resources to release after a test, newest last. */
let closers: (() => unknown)[];
beforeAll(async () => {
  postgres = await migratedPostgres();
});
afterAll(() => postgres?.remove());
beforeEach(() => {
  closers = [];
  owner = poolOf(postgres.url);
});
afterEach(async () => {
  for (const close of closers.reverse()) await close();
});

function poolOf(url: string, options: Partial<PoolOptions> = {}): Pool {
  const pool = createPool(url, { max: 3, name: "away", connectTimeoutMs: 300, ...options });
  closers.push(() => pool.ending || pool.end());
  return pool;
}

/** Starts a service as users of the SDK do: without options for database errors. */
async function serve(
  handler: () => Promise<unknown>,
  options: Partial<ServerOptions> = {},
): Promise<ServiceClient<typeof CatalogServiceService>> {
  const server = new Server({
    contract,
    authenticate: async () => ({ service: "checkout" }),
    ...options,
  });
  server.add(CatalogServiceService, {
    ...REST_OF_CATALOG,
    async getProduct() {
      await handler();
      return Product.create({ name: "products/1" });
    },
    async *watchChanges() {
      await handler();
      yield { number: 0n, gap: false, changes: [] };
    },
  });
  const client = createClient(
    CatalogServiceService,
    `127.0.0.1:${await server.listen("127.0.0.1:0")}`,
  );
  closers.push(
    () => server.drain(),
    () => client.close(),
  );
  return client;
}

const call = (client: ServiceClient<typeof CatalogServiceService>) =>
  client.getProduct({ name: "products/1" });

async function stream(client: ServiceClient<typeof CatalogServiceService>): Promise<void> {
  for await (const { gap } of client.watchChanges({ afterNumber: 0n })) expect(gap).toBe(false);
}

const select = (db: Db) => () => db.query("SELECT 1");

/** Listens on a port, and handles its connections. @returns the port */
async function portOf(treat: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on("error", () => {}));
    treat(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closers.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

test("a handler answers DATABASE_UNAVAILABLE while Postgres is stopped", async () => {
  const pool = poolOf(postgres.url);
  const client = await serve(select(pool));
  const inTransaction = await serve(() => transaction(pool, (tx) => tx.query("SELECT 1")));
  const clients = [client, inTransaction];
  for (const each of clients) await call(each);
  await stream(client);

  // One call has a statement in progress.
  const waiting = await serve(() => pool.query("SELECT pg_sleep(60)"));
  const cut = refusal(call(waiting));
  const isSleeping = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
  await waitFor("the statement to run", async () => (await owner.query(isSleeping)).rowCount);
  await postgres.stop();
  try {
    expect(await cut).toMatchObject(UNAVAILABLE);
    for (const each of clients) expect(await refusal(call(each))).toMatchObject(UNAVAILABLE);
    expect(await refusal(stream(client))).toMatchObject(UNAVAILABLE);
  } finally {
    await postgres.start();
  }
  for (const each of clients) await call(each);
  await stream(client);
});

test("an anchored service answers DATABASE_UNAVAILABLE while Postgres is stopped", async () => {
  const { target, server } = await serveSessions(poolOf(postgres.url), makeRings());
  const clients = makeClients(target, { withJar: false, retries: false });
  closers.push(
    () => server.drain(),
    () => clients.close(),
  );
  const state = { value: { $case: "json" as const, value: {} } };
  const begin = () =>
    step(clients.session.beginSession, { state, waybill: undefined, mode: Mode.MODE_ANCHORED });
  const { waybill } = await begin();
  const advance = () =>
    step(clients.session.advanceSession, { state, waybill: undefined }, { waybill: waybill! });
  await postgres.stop();
  try {
    for (const each of [begin, advance]) expect(await refusal(each())).toMatchObject(UNAVAILABLE);
  } finally {
    await postgres.start();
  }
  expect((await advance()).waybill).toBeDefined();
  await begin();
});

describe("DATABASE_UNAVAILABLE without any option:", () => {
  test.each<[string, () => Promise<Db>]>([
    ["nothing listens", async () => poolOf("postgres://a@127.0.0.1:1/a")],
    ["the host has no address", async () => poolOf("postgres://a@name.invalid/a")],
    ["the Unix socket does not exist", async () => poolOf("postgres://a@/a?host=/nowhere")],
    [
      "Postgres accepts a connection and never responds",
      async () => poolOf(`postgres://a@127.0.0.1:${await portOf(() => {})}/a`),
    ],
    [
      "a connection is closed at once",
      async () => poolOf(`postgres://a@127.0.0.1:${await portOf((socket) => socket.destroy())}/a`),
    ],
    [
      "a connection is reset at once",
      async () =>
        poolOf(`postgres://a@127.0.0.1:${await portOf((socket) => socket.resetAndDestroy())}/a`),
    ],
    [
      "a TLS connection is reset",
      async () => {
        const port = await portOf((socket) =>
          socket.once("data", () => socket.write("S", () => socket.resetAndDestroy())),
        );
        return poolOf(`postgres://a@127.0.0.1:${port}/a?sslmode=verify-full`);
      },
    ],
    [
      "every connection of the pool is in use",
      async () => {
        const pool = poolOf(postgres.url, { max: 1 });
        const holder = await pool.connect();
        closers.push(() => holder.release());
        return pool;
      },
    ],
    [
      "the role has reached its connection limit",
      async () => {
        await owner.query("DROP ROLE IF EXISTS few; CREATE ROLE few LOGIN PASSWORD 'few-1'");
        await owner.query("ALTER ROLE few CONNECTION LIMIT 0");
        const url = new URL(postgres.url);
        [url.username, url.password] = ["few", "few-1"];
        return poolOf(url.href);
      },
    ],
    [
      "the pool was ended",
      async () => {
        const pool = poolOf(postgres.url);
        await pool.end();
        return pool;
      },
    ],
    [
      "a pg.Pool of the service's own is refused",
      async () => {
        const pool = new pg.Pool({ connectionString: "postgres://a@127.0.0.1:1/a" });
        closers.push(() => pool.end());
        return pool;
      },
    ],
  ])("%s", async (_name, open) => {
    const client = await serve(select(await open()));
    expect(await refusal(call(client))).toMatchObject(UNAVAILABLE);
    expect(await refusal(stream(client))).toMatchObject(UNAVAILABLE);
  });

  test.each<[string, string]>([
    ["the statement times out", "SELECT pg_sleep(60)"],
    ["the connection is ended", "SELECT pg_terminate_backend(pg_backend_pid())"],
    ["the statement is cancelled", "SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(60)"],
    [
      "Postgres is read-only",
      "SET transaction_read_only = on; CREATE TEMP TABLE t (); CREATE TABLE t ()",
    ],
    ...["08006", "53100", "53200", "57P03", "57P04", "25P03"].map((state): [string, string] => [
      `SQLSTATE ${state}`,
      `DO $$ BEGIN RAISE SQLSTATE '${state}'; END $$`,
    ]),
  ])("%s", async (_name, sql) => {
    const pool = poolOf(postgres.url, { statementTimeoutMs: 100 });
    const client = await serve(() => pool.query(sql));
    expect(await refusal(call(client))).toMatchObject(UNAVAILABLE);
  });

  test("the client abandons a statement Postgres never ends", async () => {
    // Behind a pooler, the server enforces no statement timeout.
    const pool = poolOf(postgres.url, { prepare: false, statementTimeoutMs: 1 });
    const client = await serve(() => pool.query("SELECT pg_sleep(60)"));
    expect(await refusal(call(client))).toMatchObject(UNAVAILABLE);
  });
});

test("a transaction conflict is CONFLICT by default", async () => {
  for (const state of ["40001", "40P01", "55P03"]) {
    const client = await serve(() => owner.query(`DO $$ BEGIN RAISE SQLSTATE '${state}'; END $$`));
    expect(await refusal(call(client))).toMatchObject({ code: 10, reason: "CONFLICT" });
  }
});

test("classifies errors from another copy of pg by SQLSTATE", async () => {
  const foreign = (code: string) =>
    Object.assign(new Error("from elsewhere"), { severity: "FATAL", code });
  const thrown = async (error: unknown) =>
    (await refusal(call(await serve(() => Promise.reject(error))))).reason;
  expect(await thrown(foreign("57P01"))).toBe("DATABASE_UNAVAILABLE");
  expect(await thrown(foreign("40001"))).toBe("CONFLICT");
  expect(await thrown(foreign("42601"))).toBe("INTERNAL");
});

test("finds the database error inside wrapped and aggregate errors", async () => {
  const reasonOf = async (run: () => unknown) =>
    (await refusal(call(await serve(async () => run())))).reason;
  const nowhere = poolOf("postgres://a@127.0.0.1:1/a");
  const wrapped = (levels: number) => async () => {
    try {
      await nowhere.query("SELECT 1");
    } catch (cause) {
      let error = cause;
      for (let level = 0; level < levels; level += 1)
        error = new Error("Failed query", { cause: error });
      throw error;
    }
  };
  expect(await reasonOf(wrapped(1))).toBe("DATABASE_UNAVAILABLE");
  expect(await reasonOf(wrapped(3))).toBe("DATABASE_UNAVAILABLE");
  const conflict = () => owner.query("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$");
  const again = (cause: unknown) => Promise.reject(new Error("Failed query", { cause }));
  expect(await reasonOf(() => conflict().catch(again))).toBe("CONFLICT");
  const failing = (code: string) => Object.assign(new Error(code), { code, syscall: "connect" });
  const several = new AggregateError([failing("EAFNOSUPPORT"), failing("ECONNREFUSED")]);
  expect(await reasonOf(() => Promise.reject(several))).toBe("DATABASE_UNAVAILABLE");
  for (const code of ["EACCES", "EPERM", "EMFILE"]) {
    expect(await reasonOf(() => Promise.reject(failing(code)))).toBe("DATABASE_UNAVAILABLE");
  }
  // An error that is its own cause.
  const endless = new Error("endless");
  endless.cause = endless;
  expect(await reasonOf(() => Promise.reject(endless))).toBe("INTERNAL");
});

test("other errors stay INTERNAL", async () => {
  const odd: (() => unknown)[] = [
    () => owner.query("SELECT 1 / 0"),
    () => owner.query("SELECT * FROM nothing"),
    () => readFileSync("/nowhere/at/all"),
    () => Promise.reject(Object.assign(new Error("57P01"), { code: "57P01" })),
    () => Promise.reject(Object.assign(new Error("x"), { code: "ERR_INVALID_ARG_TYPE" })),
    () => Promise.reject("ECONNREFUSED"),
    () => fetch("http://127.0.0.1:2"),
    () => Promise.reject(undefined),
  ];
  for (const run of odd) {
    const client = await serve(async () => run());
    expect((await refusal(call(client))).reason, `${run}`).toBe("INTERNAL");
  }
});

test("a service's own translation precedes the default", async () => {
  const translate = (error: unknown): StatusError | undefined =>
    (error as Error).message === "sold out" ? Errors.CONFLICT({ cause: error }) : undefined;
  const nowhere = poolOf("postgres://a@127.0.0.1:1/a");
  const own = await serve(() => Promise.reject(new Error("sold out")), { translate });
  expect((await refusal(call(own))).reason).toBe("CONFLICT");
  const left = await serve(select(nowhere), { translate });
  expect(await refusal(call(left))).toMatchObject(UNAVAILABLE);
  const first = await serve(select(nowhere), { translate: () => Errors.OVERLOADED() });
  expect((await refusal(call(first))).reason).toBe("OVERLOADED");
});
