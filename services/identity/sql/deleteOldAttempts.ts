import type { Db } from "#shared/pg/pool.ts";

/** Removes counts whose window is long over, and addresses not seen for 90 days; 10,000 of each at most. */
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
