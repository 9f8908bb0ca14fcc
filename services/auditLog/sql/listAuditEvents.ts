import type { Db } from "waybill/postgres";

export interface AuditEventRow {
  id: string;
  createdAt: Date;
  action: string;
  outcome: string;
  actor: string;
  client: string;
  target: string;
  address: string;
  details: Record<string, string>;
}

/** Filter of events. An empty field matches any value. */
export interface AuditFilter {
  actor: string;
  target: string;
  action: string;
}

/** Reads a page of events, newest first. @param before id of the last event of the page before */
export async function listAuditEvents(
  db: Db,
  schema: string,
  { actor, target, action }: AuditFilter,
  before: string | undefined,
  limit: number,
): Promise<AuditEventRow[]> {
  const { rows } = await db.query<AuditEventRow>(
    `SELECT id, created_at AS "createdAt", action, outcome, actor, client, target, address, details
       FROM ${schema}.audit_event
      WHERE ($1::text = '' OR actor = $1::text)
        AND ($2::text = '' OR target = $2::text)
        AND ($3::text = '' OR action = $3::text)
        AND ($4::uuid IS NULL OR id < $4::uuid)
      ORDER BY id DESC
      LIMIT $5::integer`,
    [actor, target, action, before ?? null, limit],
  );
  return rows;
}
