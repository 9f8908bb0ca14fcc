import { join } from "node:path";
import type { Client } from "pg";
import { migrateSchema } from "../pg/migrate.ts";

/** What the first sessions go into, until a replica has seen to the rest. It alone knows what is over. */
const FIRST = "interval '6 hours', NULL";

/**
 * Brings the tables of a schema's anchors up to date. Call it under `withMigrationLock`, and
 * `grantTables` after it.
 *
 * @returns the names of the migrations that were run now
 */
export async function migrateAnchors(client: Client, schema: string): Promise<string[]> {
  const folder = join(import.meta.dirname, "migrations");
  const names = await migrateSchema(client, schema, folder, "anchors/");
  await client.query(`SELECT ${client.escapeIdentifier(schema)}.keep_partitions(${FIRST})`);
  return names;
}
