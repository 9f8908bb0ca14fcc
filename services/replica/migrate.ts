import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import pg from "pg";
import { loadContract } from "waybill";
import { migrateAnchors } from "waybill/postgres";
import { MigrationError, migrateSchema, withMigrationLock } from "#shared/pg/migrate.ts";
import { grantTables, makeServiceRole } from "#shared/pg/serviceRole.ts";
import { seedCatalog } from "../catalog/seed.ts";
import { seedIdentity } from "../identity/seed.ts";
import { ROLES } from "./config/config.ts";
import { readChoice, readSecretFile, readVariables, required } from "./config/environment.ts";
import { fail } from "./failure.ts";

const CONTRACT = new URL("../../proto/gen/image.binpb", import.meta.url);
/** Schemas with anchored sessions. */
const ANCHORED: ReadonlySet<string> = new Set(["session", "checkout"]);
const WAIT_MS = 60_000;

const USAGE = `Usage: node services/replica/migrate.ts

Migrates the database: schemas, login roles, tables, the catalog's demo data, the first administrator.
Safe to run again, and several times at once. Exits with 0 when all is done.

Environment:
  DATABASE_URL                         Postgres address of an owner of the database, not pooled
  WAYBILL_DATABASE_PASSWORD_KEYS       password of the login role waybill_keys
  WAYBILL_DATABASE_PASSWORD_IDENTITY   … of waybill_identity
  WAYBILL_DATABASE_PASSWORD_TOKEN      … of waybill_token
  WAYBILL_DATABASE_PASSWORD_SESSION    … of waybill_session
  WAYBILL_DATABASE_PASSWORD_CATALOG    … of waybill_catalog
  WAYBILL_DATABASE_PASSWORD_CHECKOUT   … of waybill_checkout
  WAYBILL_ADMIN_SECRET_FILE            file with the secret, 32 characters or more, of the account
                                       serviceAccounts/admin, created if missing; default: no account
  WAYBILL_DEMO_DATA                    on or off; default: on. Off: imports no demo products, and
                                       deletes none
`;

/** Connects. Retries only while the database starts. */
async function connect(url: string): Promise<pg.Client> {
  for (let waitedMs = 0; ; waitedMs += 500) {
    const client = new pg.Client({
      connectionString: url,
      application_name: "waybill-migrate",
    });
    try {
      await client.connect();
      return client;
    } catch (cause) {
      const { code, message } = cause as Error & { code?: string };
      const starting = code === "ECONNREFUSED" || code === "57P03" || code === "ENOENT";
      if (!starting || waitedMs >= WAIT_MS) {
        throw new MigrationError(
          `cannot connect to the database of DATABASE_URL: ${message || code}`,
        );
      }
      if (waitedMs % 5000 === 2000) console.log("waiting for the database to start");
      await delay(500);
    }
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { help: { type: "boolean", short: "h" } },
  });
  if (values.help) {
    console.log(USAGE);
    return;
  }
  const env = readVariables(process.env);
  const passwords = new Map(
    ROLES.map((schema) => [
      schema,
      required(env, `WAYBILL_DATABASE_PASSWORD_${schema.toUpperCase()}`),
    ]),
  );
  const adminSecretFile = env["WAYBILL_ADMIN_SECRET_FILE"];
  const adminSecret =
    adminSecretFile && readSecretFile("WAYBILL_ADMIN_SECRET_FILE", adminSecretFile);
  const hasDemo = readChoice(env, "WAYBILL_DEMO_DATA", ["on", "off"]) === "on";
  const client = await connect(required(env, "DATABASE_URL"));
  try {
    await withMigrationLock(client, async () => {
      for (const [schema, password] of passwords) {
        await makeServiceRole(client, schema, password);
        const folder = join(import.meta.dirname, "..", schema, "migrations");
        const names = await migrateSchema(client, schema, folder);
        if (ANCHORED.has(schema)) names.push(...(await migrateAnchors(client, schema)));
        for (const name of names) console.log(`migrated ${schema}: ${name}`);
        await grantTables(client, schema);
      }
      const products = hasDemo ? await seedCatalog(client) : 0;
      if (products > 0) console.log(`imported ${products} products`);
      if (await seedIdentity(client, loadContract(CONTRACT), adminSecret)) {
        console.log("created the first administrator: serviceAccounts/admin");
      }
    });
  } finally {
    await client.end();
  }
}

main().catch((error: unknown) => fail("migrate", error));
