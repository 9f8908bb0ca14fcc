import type { Client } from "pg";

/**
 * Makes a service's schema and its login role, which may work with the rows of that schema and of no
 * other. Run again, it sets the password anew.
 */
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
     GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ${name} TO ${role};
     GRANT USAGE ON ALL SEQUENCES IN SCHEMA ${name} TO ${role};
     ALTER DEFAULT PRIVILEGES IN SCHEMA ${name}
       GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO ${role};
     ALTER DEFAULT PRIVILEGES IN SCHEMA ${name} GRANT USAGE ON SEQUENCES TO ${role};`,
  );
}
