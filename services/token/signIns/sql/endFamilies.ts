import type { Db } from "waybill/postgres";

/** Selects families of a subject: one, or all except one. */
export type Which = { readonly only: string } | { readonly except: string | undefined };

/** Ends active families. @returns their ids */
export async function endFamilies(
  tx: Db,
  subject: string,
  which: Which,
  reason: string,
): Promise<string[]> {
  const [only, except] = "only" in which ? [which.only, null] : [null, which.except ?? null];
  const { rows } = await tx.query<{ id: string }>(
    `UPDATE token.family SET ended_at = now(), end_reason = $4::text
      WHERE subject = $1::text AND ended_at IS NULL
        AND ($2::uuid IS NULL OR id = $2::uuid)
        AND ($3::uuid IS NULL OR id <> $3::uuid)
      RETURNING id`,
    [subject, only, except, reason],
  );
  return rows.map(({ id }) => id);
}
