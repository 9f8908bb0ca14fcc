import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Client } from "pg";

/** Arbitrary id of the advisory lock that serializes migrations of one database. */
const LOCK = 5_071_000_001n;

interface Migration {
  readonly name: string;
  readonly sql: string;
  readonly sha256: string;
  readonly breaking: boolean;
}

/** The error of a migration that was refused or failed. */
export class MigrationError extends Error {}

/** Runs `work` under the migration lock of the database. Needs a direct connection, not a pooler. */
export async function withMigrationLock<T>(client: Client, work: () => Promise<T>): Promise<T> {
  await client.query("SELECT pg_advisory_lock($1::bigint)", [LOCK]);
  try {
    return await work();
  } finally {
    await client.query("SELECT pg_advisory_unlock($1::bigint)", [LOCK]);
  }
}

/**
 * Migrates a schema: runs the files of `folder` (`0001_name.sql` …) that were not run yet, each in a transaction of
 * its own. Forward only. Call it under `withMigrationLock`.
 *
 * @param part prefix of the migrations' names, for a schema with files in several folders. The files name their
 *   tables without a schema
 * @returns the names of the migrations that it ran
 * @throws MigrationError when a file was changed after it was run, or when the database has a migration that this
 *   program does not know and that starts with the line `-- breaking`
 */
export async function migrateSchema(
  client: Client,
  schema: string,
  folder: string,
  part = "",
): Promise<string[]> {
  const migrations = readMigrations(folder, part);
  await client.query(
    `CREATE TABLE IF NOT EXISTS ${client.escapeIdentifier(schema)}.migration (
       name text PRIMARY KEY,
       sha256 text NOT NULL,
       breaking boolean NOT NULL,
       applied_at timestamptz NOT NULL DEFAULT now()
     )`,
  );
  const applied = await readApplied(client, schema, part);
  checkHistory(schema, migrations, applied);
  const missing = migrations.filter((migration) => !applied.has(migration.name));
  for (const migration of missing) await apply(client, schema, migration);
  return missing.map((migration) => migration.name);
}

function readMigrations(folder: string, part: string): Migration[] {
  const files = readdirSync(folder)
    .filter((file) => file.endsWith(".sql"))
    .sort();
  return files.map((file) => {
    if (!/^\d{4}_[a-z0-9_]+\.sql$/.test(file)) {
      throw new MigrationError(`${join(folder, file)}: expected a name like 0001_name.sql`);
    }
    const sql = readFileSync(join(folder, file), "utf8");
    return {
      name: part + file.replace(/\.sql$/, ""),
      sql,
      sha256: createHash("sha256").update(sql).digest("hex"),
      breaking: /^-- breaking\b/.test(sql),
    };
  });
}

async function readApplied(
  client: Client,
  schema: string,
  part: string,
): Promise<Map<string, { sha256: string; breaking: boolean }>> {
  const { rows } = await client.query<{
    name: string;
    sha256: string;
    breaking: boolean;
  }>(`SELECT name, sha256, breaking FROM ${client.escapeIdentifier(schema)}.migration`);
  const own = rows.filter(({ name }) => name.slice(0, name.lastIndexOf("/") + 1) === part);
  return new Map(own.map((row) => [row.name, row]));
}

function checkHistory(
  schema: string,
  migrations: Migration[],
  applied: Map<string, { sha256: string; breaking: boolean }>,
): void {
  for (const { name, sha256 } of migrations) {
    const before = applied.get(name);
    if (before !== undefined && before.sha256 !== sha256) {
      throw new MigrationError(
        `${schema}/${name}.sql was changed after it had been run: undo that, and add a new file`,
      );
    }
  }
  const known = new Set(migrations.map((migration) => migration.name));
  for (const [name, { breaking }] of applied) {
    if (breaking && !known.has(name)) {
      throw new MigrationError(
        `the database has had ${schema}/${name}, which this older program cannot work with: run a newer one`,
      );
    }
  }
}

async function apply(client: Client, schema: string, migration: Migration): Promise<void> {
  await client.query("BEGIN");
  try {
    await client.query(`SET LOCAL search_path TO ${client.escapeIdentifier(schema)}, pg_temp`);
    await client.query(migration.sql);
    await client.query(
      `INSERT INTO ${client.escapeIdentifier(schema)}.migration (name, sha256, breaking)
       VALUES ($1::text, $2::text, $3::boolean)`,
      [migration.name, migration.sha256, migration.breaking],
    );
    await client.query("COMMIT");
  } catch (cause) {
    await client.query("ROLLBACK");
    throw new MigrationError(
      `${schema}/${migration.name}.sql failed: ${(cause as Error).message}`,
      {
        cause,
      },
    );
  }
}
