import type { Db } from "waybill/postgres";

/** Channel that tells other replicas of a ring's new version. */
export const RING_CHANNEL = "waybill_ring";

/** Gives a ring its next version, and tells whoever listens when that is committed. */
export async function updateVersion(tx: Db, audience: string, version: number): Promise<void> {
  const { rowCount } = await tx.query(
    `WITH updated AS (
       UPDATE keys.ring SET version = $2::integer
        WHERE audience = $1::text AND version < $2::integer
       RETURNING audience, version
     )
     SELECT pg_notify('${RING_CHANNEL}', version || ' ' || audience) FROM updated`,
    [audience, version],
  );
  if (rowCount !== 1) throw new Error(`the ring of ${audience} went on without its lock`);
}
