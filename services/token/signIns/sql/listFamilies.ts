import type { Db } from "waybill/postgres";
import { FAMILY_COLUMNS, type FamilyRow, IS_ALIVE } from "./readFamily.ts";

/** Reads a page of a subject's active families, newest first. @param before id of the last one of the page before */
export async function listFamilies(
  db: Db,
  subject: string,
  before: string | undefined,
  limit: number,
): Promise<FamilyRow[]> {
  const { rows } = await db.query<FamilyRow>(
    `SELECT ${FAMILY_COLUMNS} FROM token.family
      WHERE subject = $1::text AND ${IS_ALIVE} AND ($2::uuid IS NULL OR id < $2::uuid)
      ORDER BY id DESC LIMIT $3::integer`,
    [subject, before ?? null, limit],
  );
  return rows;
}
