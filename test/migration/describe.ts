import type { Client } from "pg";

/** A partition's name ends with the time at which it begins. */
const PARTITION = "_[0-9]{8}_[0-9]{6}";
const SCHEMAS = ["keys", "identity", "token", "session", "catalog", "checkout"];

/** Describes the services' schemas: tables, columns, constraints, indexes, functions, rights. */
export async function describeSchemas(client: Client): Promise<string> {
  const lines: string[] = [];
  const add = async (text: string) => {
    const { rows } = await client.query<{ line: string }>(text, [SCHEMAS]);
    lines.push(...rows.map(({ line }) => line), "");
  };
  await add(`
    SELECT format('%I.%I.%I %s%s%s', table_schema, table_name, column_name, data_type,
                  CASE is_nullable WHEN 'NO' THEN ' NOT NULL' ELSE '' END,
                  ' DEFAULT ' || column_default) AS line
      FROM information_schema.columns
     WHERE table_schema = ANY ($1::text[]) AND table_name !~ '${PARTITION}'
     ORDER BY table_schema, table_name, ordinal_position`);
  await add(`
    SELECT format('%s %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) AS line
      FROM pg_constraint
     WHERE connamespace::regnamespace::text = ANY ($1::text[]) AND contype <> 'n'
       AND conrelid::regclass::text !~ '${PARTITION}'
     ORDER BY conrelid::regclass::text, conname`);
  await add(`
    SELECT indexdef AS line FROM pg_indexes WHERE schemaname = ANY ($1::text[])
       AND tablename !~ '${PARTITION}'
     ORDER BY schemaname, tablename, indexname`);
  await add(`
    SELECT pg_get_functiondef(oid) AS line FROM pg_proc
     WHERE pronamespace::regnamespace::text = ANY ($1::text[])
     ORDER BY oid::regprocedure::text`);
  await add(`
    SELECT format('%s may %s %I.%I', grantee, string_agg(privilege_type, ', ' ORDER BY privilege_type),
                  table_schema, table_name) AS line
      FROM information_schema.role_table_grants
     WHERE table_schema = ANY ($1::text[]) AND grantee LIKE 'waybill_%'
       AND table_name !~ '${PARTITION}'
     GROUP BY grantee, table_schema, table_name
     ORDER BY grantee, table_schema, table_name`);
  return `${lines.join("\n").trim()}\n`;
}
