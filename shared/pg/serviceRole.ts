import type { Client } from "pg";

/** Creates a service's schema and login role, or sets the password of an existing role. */
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
  // CREATE ROLE takes no parameters.
  const secret = client.escapeLiteral(password);
  await client.query(
    `${rowCount === 0 ? "CREATE" : "ALTER"} ROLE ${role} LOGIN PASSWORD ${secret};
     CREATE SCHEMA IF NOT EXISTS ${name};
     GRANT USAGE ON SCHEMA ${name} TO ${role};
     -- For connections through a pooler, which sets no timeouts.
     ALTER ROLE ${role} SET statement_timeout = '10s';
     ALTER ROLE ${role} SET idle_in_transaction_session_timeout = '10s'`,
  );
}

/**
 * Grants a service's role access to the rows of its own tables only; only the owner records migrations. Call it after
 * the migrations.
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
