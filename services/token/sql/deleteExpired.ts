import type { Db } from "waybill/postgres";

const STATEMENTS = [
  `DELETE FROM token.spent WHERE digest IN
     (SELECT digest FROM token.spent WHERE expires_at < now() LIMIT 10000)`,
  `DELETE FROM token.family WHERE id IN
     (SELECT id FROM token.family WHERE expires_at < now() - interval '1 day' LIMIT 10000)`,
  "DELETE FROM token.ended_subject WHERE ended_at < now() - interval '1 hour'",
  "DELETE FROM token.grant_window WHERE ends_at < now() - interval '1 hour'",
];

/** Deletes expired rows: at most 10,000 of `spent` and of `family`. */
export async function deleteExpired(db: Db): Promise<void> {
  for (const statement of STATEMENTS) await db.query(statement);
}
