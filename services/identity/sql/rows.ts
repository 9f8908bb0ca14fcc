import type { Db } from "waybill/postgres";

/** Tables of resources. */
export type Table = "service_account" | '"user"' | "issuer" | "scope" | "audience";

/** Columns of every resource. */
export interface ResourceRow {
  id: string;
  revision: bigint;
  created_at: Date;
  updated_at: Date;
}

/** Values by column. Keys are put into SQL as they are: never use names from a caller. */
export type Columns = Readonly<Record<string, unknown>>;

export async function readRow<Row extends ResourceRow>(
  db: Db,
  table: Table,
  id: string,
): Promise<Row | undefined> {
  const { rows } = await db.query<Row>(`SELECT * FROM identity.${table} WHERE id = $1`, [id]);
  return rows[0];
}

/** Reads a page of rows in the order of their ids. @param after id of the last row of the page before */
export async function listRows<Row extends ResourceRow>(
  db: Db,
  table: Table,
  after: string | undefined,
  limit: number,
): Promise<Row[]> {
  const { rows } = await db.query<Row>(
    after === undefined
      ? `SELECT * FROM identity.${table} ORDER BY id LIMIT $1::integer`
      : `SELECT * FROM identity.${table} WHERE id > $2 ORDER BY id LIMIT $1::integer`,
    after === undefined ? [limit] : [limit, after],
  );
  return rows;
}

/** Inserts a row. @returns undefined when a row has the same id, or the same value in a unique column */
export async function insertRow<Row extends ResourceRow>(
  tx: Db,
  table: Table,
  columns: Columns,
): Promise<Row | undefined> {
  const names = Object.keys(columns);
  const { rows } = await tx.query<Row>(
    `INSERT INTO identity.${table} (${names.join(", ")})
     VALUES (${names.map((_, index) => `$${index + 1}`).join(", ")})
     ON CONFLICT DO NOTHING
     RETURNING *`,
    Object.values(columns),
  );
  return rows[0];
}

/**
 * Changes a row.
 *
 * @param revision the revision that the row must have; empty: any
 * @param newEpoch gives the row a new epoch, which revokes every token issued before
 * @returns undefined when no row has the id and revision
 */
export async function updateRow<Row extends ResourceRow>(
  tx: Db,
  table: Table,
  id: string,
  revision: string,
  columns: Columns,
  newEpoch: boolean,
): Promise<Row | undefined> {
  const assignments = Object.keys(columns).map((name, index) => `${name} = $${index + 3}`);
  if (newEpoch) assignments.push("epoch = nextval('identity.epoch')");
  const { rows } = await tx.query<Row>(
    `UPDATE identity.${table}
        SET ${[...assignments, "revision = revision + 1", "updated_at = now()"].join(", ")}
      WHERE id = $1 AND ($2::text = '' OR revision::text = $2::text)
      RETURNING *`,
    [id, revision, ...Object.values(columns)],
  );
  return rows[0];
}

/** Deletes a row. @param revision the revision that the row must have; empty: any */
export async function deleteRow<Row extends ResourceRow>(
  tx: Db,
  table: Table,
  id: string,
  revision: string,
): Promise<Row | undefined> {
  const { rows } = await tx.query<Row>(
    `DELETE FROM identity.${table}
      WHERE id = $1 AND ($2::text = '' OR revision::text = $2::text)
      RETURNING *`,
    [id, revision],
  );
  return rows[0];
}
