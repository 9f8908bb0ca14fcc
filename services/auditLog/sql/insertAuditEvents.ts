import type { Db } from "waybill/postgres";

export interface AuditRow {
  /** UUIDv7. */
  id: string;
  action: string;
  outcome: string;
  actor: string;
  client: string;
  target: string;
  address: string;
  /** A JSON object. */
  details: string;
}

/** Writes events in one statement. @param schema put into SQL as it is: never a name from a caller */
export async function insertAuditEvents(db: Db, schema: string, rows: AuditRow[]): Promise<void> {
  await db.query(
    `INSERT INTO ${schema}.audit_event (id, action, outcome, actor, client, target, address, details)
     SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                          $7::text[], $8::jsonb[])`,
    [
      rows.map((row) => row.id),
      rows.map((row) => row.action),
      rows.map((row) => row.outcome),
      rows.map((row) => row.actor),
      rows.map((row) => row.client),
      rows.map((row) => row.target),
      rows.map((row) => row.address),
      rows.map((row) => row.details),
    ],
  );
}
