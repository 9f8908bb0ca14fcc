import type { Db } from "#shared/pg/pool.ts";

/** The tables of resources. */
export type Table = "service_account" | '"user"' | "issuer" | "scope" | "audience";

/** What every resource's row has. */
export interface ResourceRow {
  id: string;
  revision: bigint;
  created_at: Date;
  updated_at: Date;
}

/** Columns that a program has named, not a caller. */
export type Columns = Readonly<Record<string, unknown>>;

export async function readRow<Row extends ResourceRow>(
  db: Db,
  table: Table,
  id: string,
): Promise<Row | undefined> {
  const { rows } = await db.query<Row>(`SELECT * FROM identity.${table} WHERE id = $1`, [id]);
  return rows[0];
}

/** A page of rows by id. @param after the id that the page comes after */
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

/** Undefined when a row has its id, or another value that only one may have, already. */
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
 * Changes a row. With `revision`, only the row as it was then.
 *
 * @param newEpoch whether everything that was issued to it before ends
 * @returns undefined when there is none, or none any more of that revision
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

/** Removes a row. With `revision`, only the row as it was then. */
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
