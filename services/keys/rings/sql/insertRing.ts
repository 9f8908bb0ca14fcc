import type { Db } from "waybill/postgres";

/** Makes an audience's ring, without keys, when there is none. */
export async function insertRing(tx: Db, audience: string): Promise<void> {
  await tx.query(
    "INSERT INTO keys.ring (audience, version) VALUES ($1::text, 0) ON CONFLICT DO NOTHING",
    [audience],
  );
}
