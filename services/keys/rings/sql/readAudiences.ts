import type { Db } from "waybill/postgres";

/** Reads the audiences that have rings. */
export async function readAudiences(db: Db): Promise<string[]> {
  const { rows } = await db.query<{ audience: string }>("SELECT audience FROM keys.ring");
  return rows.map(({ audience }) => audience);
}
