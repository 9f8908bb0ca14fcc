import type { Db } from "waybill/postgres";

export interface NewFamily {
  id: string;
  subject: string;
  client: string;
  scopes: readonly string[];
  audiences: readonly string[];
  epoch: number;
  device: string;
  address: string;
  confirmation: string;
  keyId: string;
}

/**
 * Inserts a family, unless the subject's sign-ins have been ended since its epoch was read. Call it
 * under `lockSubject`, which waits for a concurrent end.
 *
 * @returns false when the sign-ins have been ended
 */
export async function insertFamily(
  tx: Db,
  family: NewFamily,
  idleS: number,
  absoluteS: number,
): Promise<boolean> {
  const { rowCount } = await tx.query(
    `INSERT INTO token.family (id, subject, client, scopes, audiences, epoch, device, address,
                               confirmation, key_id, idle_expires_at, expires_at)
     SELECT $1::uuid, $2::text, $3::text, $4::text[], $5::text[], $6::integer, $7::text, $8::text,
            $9::text, $10::text, now() + $11::float8 * interval '1 second',
            now() + $12::float8 * interval '1 second'
      WHERE NOT EXISTS (SELECT FROM token.ended_subject
                         WHERE subject = $2::text AND epoch > $6::integer)`,
    [
      family.id,
      family.subject,
      family.client,
      family.scopes,
      family.audiences,
      family.epoch,
      family.device,
      family.address,
      family.confirmation,
      family.keyId,
      idleS,
      absoluteS,
    ],
  );
  return rowCount === 1;
}
