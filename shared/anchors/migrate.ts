import { join } from "node:path";
import type { Client } from "pg";
import { migrateSchema } from "../pg/migrate.ts";

/** Partitions for the first sessions. Replicas know how long sessions live, and drop old partitions. */
const FIRST = "interval '6 hours', NULL";

/**
 * Migrates the tables of a schema's anchors. Call it under `withMigrationLock`, and `grantTables` after it.
 *
 * @returns the names of the migrations that it ran
 */
export async function migrateAnchors(client: Client, schema: string): Promise<string[]> {
  const folder = join(import.meta.dirname, "migrations");
  const names = await migrateSchema(client, schema, folder, "anchors/");
  await client.query(`SELECT ${client.escapeIdentifier(schema)}.keep_partitions(${FIRST})`);
  return names;
}
