import type { Db } from "#shared/pg/pool.ts";
import type { IssuerRow } from "../issuers.ts";

/** By its `iss`, to the letter. */
export async function readIssuer(db: Db, issuer: string): Promise<IssuerRow | undefined> {
  const { rows } = await db.query<IssuerRow>(
    "SELECT * FROM identity.issuer WHERE issuer = $1::text",
    [issuer],
  );
  return rows[0];
}
