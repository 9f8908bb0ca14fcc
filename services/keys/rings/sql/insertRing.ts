import type { Db } from "waybill/postgres";

/** Creates an audience's ring without keys, unless it exists. */
export async function insertRing(tx: Db, audience: string): Promise<void> {
  await tx.query(
    "INSERT INTO keys.ring (audience, version) VALUES ($1::text, 0) ON CONFLICT DO NOTHING",
    [audience],
  );
}
