import { createHash } from "node:crypto";
import type { Contract } from "#shared/contract/contract.ts";
import type { Db } from "#shared/pg/pool.ts";
import { AuditLog } from "../auditLog/auditLog.ts";

/** The account that whoever runs the cluster begins with. */
export const ADMINISTRATOR = "admin";

/** What the scopes of this system's own methods allow. */
const DESCRIPTIONS: Readonly<Record<string, string>> = {
  "identity.admin": "To read and change accounts, issuers, scopes and audiences.",
  "token.admin": "To read and rotate the keys that tokens are signed with.",
  "token.introspect": "To ask what a token says, and whether it is in force.",
  "catalog.write": "To change what the catalogue sells, and for how much.",
  "audit.read": "To read who has changed what.",
};

/**
 * Makes the audiences and scopes that the protos name, and the first administrator, where they are
 * not there yet.
 *
 * @param secret the administrator's, for when there is none yet; undefined: none is made
 * @returns whether the administrator was made now
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
