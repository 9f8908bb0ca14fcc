import { createHash } from "node:crypto";
import type { Contract } from "waybill";
import type { Db } from "waybill/postgres";
import { AuditLog } from "../auditLog/auditLog.ts";

/** Id of the service account that the operator of a new cluster uses first. */
export const ADMINISTRATOR = "admin";

/** Descriptions of the scopes that this system's own methods require. */
const DESCRIPTIONS: Readonly<Record<string, string>> = {
  "identity.admin": "Read and change accounts, issuers, scopes and audiences.",
  "token.admin": "Read and rotate the keys that sign tokens.",
  "token.introspect": "Introspect tokens.",
  "catalog.write": "Change products and their prices.",
  "audit.read": "Read audit events.",
};

/**
 * Creates the audiences and scopes that the protos name, and the first administrator. Existing rows
 * stay as they are.
 *
 * @param secret the administrator's secret; undefined: creates no administrator
 * @returns true when this call created the administrator
 */
export async function seedIdentity(
  db: Db,
  contract: Contract,
  secret: string | undefined,
): Promise<boolean> {
  const scopes = [...new Set(contract.methods.flatMap((method) => method.scopes))];
  const audiences = [
    ...new Set(contract.methods.flatMap(({ audience }) => (audience ? [audience] : []))),
  ];
  await db.query(
    `INSERT INTO identity.scope (id, description)
     SELECT * FROM unnest($1::text[], $2::text[]) ON CONFLICT DO NOTHING`,
    [scopes, scopes.map((scope) => DESCRIPTIONS[scope] ?? "")],
  );
  await db.query(
    `INSERT INTO identity.audience (id, granted_to_users)
     SELECT id, true FROM unnest($1::text[]) AS given (id) ON CONFLICT DO NOTHING`,
    [audiences],
  );
  if (secret === undefined) return false;
  const { rowCount } = await db.query(
    `INSERT INTO identity.service_account (id, display_name, scopes, audiences, secret_digest)
     VALUES ($1::text, 'First administrator', $2::text[], $3::text[], $4::bytea)
     ON CONFLICT DO NOTHING`,
    [ADMINISTRATOR, scopes, audiences, createHash("sha256").update(secret).digest()],
  );
  if (rowCount !== 1) return false;
  await new AuditLog(db, "identity").writeWith(db, {
    action: "serviceAccount.create",
    actor: "migration",
    target: `serviceAccounts/${ADMINISTRATOR}`,
    details: { scopes: scopes.join(" ") },
  });
  return true;
}
