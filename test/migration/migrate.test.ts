import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { migrateSchema, withMigrationLock } from "#shared/pg/migrate.ts";
import { makeServiceRole } from "#shared/pg/serviceRole.ts";
import {
  migratedPostgres,
  PASSWORDS,
  startTestPostgres,
  type TestPostgres,
} from "../support/postgres.ts";
import { describeSchemas } from "./describe.ts";

let postgres: TestPostgres;
let folder: string;
let client: Client;

beforeAll(async () => {
  postgres = await startTestPostgres();
});
afterAll(() => postgres?.remove());
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "waybill-migrations-"));
  client = await connect(postgres.url);
  await client.query("DROP SCHEMA IF EXISTS trial CASCADE; CREATE SCHEMA trial");
});
afterEach(async () => {
  await client.end();
  rmSync(folder, { recursive: true });
});

async function connect(url: string): Promise<Client> {
  const connected = new Client({ connectionString: url });
  await connected.connect();
  return connected;
}

const write = (name: string, sql: string) => writeFileSync(join(folder, name), sql);
const migrate = () => migrateSchema(client, "trial", folder);

test("each step runs once, with data in between", async () => {
  write("0001_first.sql", "CREATE TABLE trial.thing (id int PRIMARY KEY)");
  expect(await migrate()).toEqual(["0001_first"]);
  await client.query("INSERT INTO trial.thing VALUES (1)");
  write("0002_second.sql", "ALTER TABLE trial.thing ADD COLUMN name text NOT NULL DEFAULT 'x'");
  expect(await migrate()).toEqual(["0002_second"]);
  expect((await client.query("SELECT * FROM trial.thing")).rows).toEqual([{ id: 1, name: "x" }]);
  expect(await migrate()).toEqual([]);
});

test("a failed step is rolled back and named", async () => {
  write("0001_first.sql", "CREATE TABLE trial.thing (id int); SELECT 1 / 0");
  await expect(migrate()).rejects.toThrow("trial/0001_first.sql failed: division by zero");
  write("0001_first.sql", "CREATE TABLE trial.thing (id int)");
  expect(await migrate()).toEqual(["0001_first"]);
});

test("a step edited after it ran is refused", async () => {
  write("0001_first.sql", "CREATE TABLE trial.thing (id int)");
  await migrate();
  write("0001_first.sql", "CREATE TABLE trial.thing (id bigint)");
  await expect(migrate()).rejects.toThrow("trial/0001_first.sql was changed");
});

test("a newer schema is accepted unless it breaks", async () => {
  write("0001_first.sql", "SELECT 1");
  write("0002_newer.sql", "SELECT 1");
  await migrate();
  rmSync(join(folder, "0002_newer.sql"));
  expect(await migrate()).toEqual([]);
  write("0003_breaking.sql", "-- breaking\nSELECT 1");
  await migrate();
  rmSync(join(folder, "0003_breaking.sql"));
  await expect(migrate()).rejects.toThrow("the database has had trial/0003_breaking");
});

test("twenty concurrent migrations run each step once", async () => {
  write("0001_first.sql", "CREATE TABLE trial.count (n int); SELECT pg_sleep(0.05)");
  write("0002_second.sql", "INSERT INTO trial.count VALUES (1)");
  const clients = await Promise.all(Array.from({ length: 20 }, () => connect(postgres.url)));
  const runs = await Promise.all(
    clients.map((each) => withMigrationLock(each, () => migrateSchema(each, "trial", folder))),
  );
  await Promise.all(clients.map((each) => each.end()));
  expect(runs.filter((run) => run.length === 2)).toHaveLength(1);
  expect((await client.query("SELECT * FROM trial.count")).rows).toEqual([{ n: 1 }]);
});

test("concurrent migration programs create schemas, roles and 3,201 products", async () => {
  await Promise.all(Array.from({ length: 4 }, () => postgres.migrate()));
  await postgres.migrate();
  expect((await client.query("SELECT count(*)::int AS n FROM catalog.product")).rows).toEqual([
    { n: 3201 },
  ]);
});

test("the program imports the demo data unless disabled", async () => {
  const fresh = await startTestPostgres();
  const program = join(import.meta.dirname, "../../services/replica/migrate.ts");
  const run = (demo: string) => {
    const names = Object.entries(PASSWORDS).map(
      ([role, password]) => [`WAYBILL_DATABASE_PASSWORD_${role.toUpperCase()}`, password] as const,
    );
    const env = { DATABASE_URL: fresh.url, WAYBILL_DEMO_DATA: demo, ...Object.fromEntries(names) };
    return spawnSync(process.execPath, [program], { env, encoding: "utf8" });
  };
  const refused = run("false");
  expect(refused.status).toBe(2);
  expect(refused.stderr).toContain("WAYBILL_DEMO_DATA=false: expected on or off");
  expect(run("off").status).toBe(0);
  const connected = await connect(fresh.url);
  const products = async () =>
    (await connected.query("SELECT count(*)::int AS n FROM catalog.product")).rows[0].n;
  expect(await products()).toBe(0);
  expect(run("on").stdout).toContain("imported 3201 products");
  expect(run("off").status).toBe(0);
  expect(await products()).toBe(3201);
  await connected.end();
  await fresh.remove();
});

test("E5 a service's role accesses only its own schema", async () => {
  await postgres.migrate();
  await makeServiceRole(client, "trial", "trial-1");
  const url = new URL(postgres.url);
  url.username = "waybill_catalog";
  url.password = PASSWORDS.catalog;
  const catalog = await connect(url.href);
  await catalog.query("SELECT FROM catalog.product");
  for (const statement of [
    "SELECT FROM keys.ring_key",
    'SELECT FROM checkout."order"',
    "CREATE TABLE public.mine (id int)",
    "CREATE TABLE catalog.mine (id int)",
    "DELETE FROM catalog.migration",
    "CREATE SCHEMA mine",
  ]) {
    await expect(catalog.query(statement)).rejects.toThrow("permission denied");
  }
  await catalog.end();
});

test("the migrations produce the schemas in schema.txt", async () => {
  const fresh = await migratedPostgres();
  const connected = await connect(fresh.url);
  const found = await describeSchemas(connected);
  await connected.end();
  await fresh.remove();
  // To accept the change of a migration: `npm test -- test/migration --update`.
  await expect(found).toMatchFileSnapshot("schema.txt");
});
