import type { Db } from "waybill/postgres";

/** Deletes counts whose window ended an hour ago, and addresses not seen for 90 days; at most 10,000 of each. */
export async function deleteOldAttempts(db: Db): Promise<void> {
  await db.query(
    `DELETE FROM identity.attempt
      WHERE key IN (SELECT key FROM identity.attempt
                     WHERE window_ends_at < now() - interval '1 hour' LIMIT 10000)`,
  );
  await db.query(
    `DELETE FROM identity.known_address
      WHERE key IN (SELECT key FROM identity.known_address
                     WHERE seen_at < now() - interval '90 days' LIMIT 10000)`,
  );
}
