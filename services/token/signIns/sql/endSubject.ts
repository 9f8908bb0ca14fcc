import type { Db } from "waybill/postgres";

/**
 * Ends the families of a subject below an epoch. Records the epoch, so that concurrent sign-ins below it
 * fail too. @returns the number of families that it ended
 */
export async function endSubject(tx: Db, subject: string, epoch: number): Promise<number> {
  await tx.query(
    `INSERT INTO token.ended_subject AS ended (subject, epoch) VALUES ($1::text, $2::integer)
     ON CONFLICT (subject) DO UPDATE
       SET epoch = greatest(ended.epoch, excluded.epoch), ended_at = now()`,
    [subject, epoch],
  );
  const { rowCount } = await tx.query(
    `UPDATE token.family SET ended_at = now(), end_reason = 'subject'
      WHERE subject = $1::text AND epoch < $2::integer AND ended_at IS NULL`,
    [subject, epoch],
  );
  return rowCount ?? 0;
}
