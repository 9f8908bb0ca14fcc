import type { Db } from "waybill/postgres";

export interface FamilyRow {
  id: string;
  subject: string;
  client: string;
  scopes: string[];
  audiences: string[];
  epoch: number;
  confirmation: string;
  device: string;
  address: string;
  generation: number;
  createdAt: Date;
  redeemedAt: Date;
  endsAt: Date;
}

/** Columns of a FamilyRow. */
export const FAMILY_COLUMNS = `id, subject, client, scopes, audiences, epoch, confirmation, device,
  address, generation, created_at AS "createdAt", redeemed_at AS "redeemedAt",
  least(idle_expires_at, expires_at) AS "endsAt"`;

/** SQL condition of an active family. */
export const IS_ALIVE = "ended_at IS NULL AND idle_expires_at > now() AND expires_at > now()";

/** Reads an active family. */
export async function readFamily(db: Db, id: string): Promise<FamilyRow | undefined> {
  const { rows } = await db.query<FamilyRow>(
    `SELECT ${FAMILY_COLUMNS} FROM token.family WHERE id = $1::uuid AND ${IS_ALIVE}`,
    [id],
  );
  return rows[0];
}
