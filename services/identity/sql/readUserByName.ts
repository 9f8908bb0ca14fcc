import type { Db } from "waybill/postgres";
import type { ResourceRow } from "./rows.ts";

export interface UserRow extends ResourceRow {
  username: string;
  display_name: string;
  scopes: string[];
  disabled: boolean;
  secret_hash: string;
  epoch: number;
}

export async function readUserByName(db: Db, username: string): Promise<UserRow | undefined> {
  const { rows } = await db.query<UserRow>(
    `SELECT * FROM identity."user" WHERE lower(username) = lower($1::text)`,
    [username],
  );
  return rows[0];
}
