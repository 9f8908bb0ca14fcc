import type { Db } from "waybill/postgres";

export interface Spend {
  digest: Buffer;
  lifeS: number;
}

/** Records digests as used. @returns those that were not used before */
export async function spend(db: Db, items: Spend[]): Promise<Buffer[]> {
  const { rows } = await db.query<{ digest: Buffer }>(
    `INSERT INTO token.spent (digest, expires_at)
     SELECT digest, now() + life_s * interval '1 second'
       FROM unnest($1::bytea[], $2::float8[]) AS given (digest, life_s)
      ORDER BY digest
     ON CONFLICT (digest) DO NOTHING
     RETURNING digest`,
    [items.map(({ digest }) => digest), items.map(({ lifeS }) => lifeS)],
  );
  return rows.map(({ digest }) => digest);
}
