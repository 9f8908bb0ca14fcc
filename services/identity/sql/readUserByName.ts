import type { Db } from "#shared/pg/pool.ts";
import type { UserRow } from "../users.ts";

export async function readUserByName(db: Db, username: string): Promise<UserRow | undefined> {
  const { rows } = await db.query<UserRow>(
    `SELECT * FROM identity."user" WHERE lower(username) = lower($1::text)`,
    [username],
  );
  return rows[0];
}
