import type { Client } from "pg";

/** Makes a service's schema and its login role. Run again, it sets the password anew. */
export async function makeServiceRole(
  client: Client,
  schema: string,
  password: string,
): Promise<void> {
  const name = client.escapeIdentifier(schema);
  const role = client.escapeIdentifier(`waybill_${schema}`);
  const { rowCount } = await client.query("SELECT FROM pg_roles WHERE rolname = $1::text", [
    `waybill_${schema}`,
  ]);
  // Statements that make roles take no parameters.
  const secret = client.escapeLiteral(password);
  await client.query(
    `${rowCount === 0 ? "CREATE" : "ALTER"} ROLE ${role} LOGIN PASSWORD ${secret};
     CREATE SCHEMA IF NOT EXISTS ${name};
     GRANT USAGE ON SCHEMA ${name} TO ${role};
     -- For connections by way of a pooler, which asks for nothing itself.
     ALTER ROLE ${role} SET statement_timeout = '10s';
     ALTER ROLE ${role} SET idle_in_transaction_session_timeout = '10s'`,
  );
}

/**
 * Lets a service's role work with the rows of its own tables, and with nothing else: which migrations
 * were run is the owner's to write. Call it after the migrations.
 */
export async function grantTables(client: Client, schema: string): Promise<void> {
  const name = client.escapeIdentifier(schema);
  const role = client.escapeIdentifier(`waybill_${schema}`);
  await client.query(
    `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ${name} TO ${role};
     GRANT USAGE ON ALL SEQUENCES IN SCHEMA ${name} TO ${role};
     REVOKE ALL ON ${name}.migration FROM ${role}`,
  );
}
