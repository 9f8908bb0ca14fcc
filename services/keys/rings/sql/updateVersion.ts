import type { Db } from "waybill/postgres";

/** Notification channel for new ring versions. */
export const RING_CHANNEL = "waybill_ring";

/** Sets a ring's next version. The commit notifies all replicas. */
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
  if (rowCount !== 1) throw new Error(`the ring of ${audience} changed without its lock`);
}
