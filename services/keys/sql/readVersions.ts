import type { Db } from "waybill/postgres";

/** Reads the versions of rings, by audience. */
export async function readVersions(db: Db, audiences: string[]): Promise<Map<string, number>> {
  const { rows } = await db.query<{ audience: string; version: number }>(
    "SELECT audience, version FROM keys.ring WHERE audience = ANY ($1::text[])",
    [audiences],
  );
  return new Map(rows.map(({ audience, version }) => [audience, version]));
}
