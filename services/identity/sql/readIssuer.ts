import type { Db } from "waybill/postgres";
import type { IssuerBinding } from "#proto/waybill/identity/v1/identity.ts";
import type { ResourceRow } from "./rows.ts";

export interface IssuerRow extends ResourceRow {
  issuer: string;
  jwks_uri: string;
  ca_certificate: string;
  algorithms: string[];
  audience: string;
  bindings: IssuerBinding[];
}

/** Finds a trusted issuer by its exact `iss`. */
export async function readIssuer(db: Db, issuer: string): Promise<IssuerRow | undefined> {
  const { rows } = await db.query<IssuerRow>(
    "SELECT * FROM identity.issuer WHERE issuer = $1::text",
    [issuer],
  );
  return rows[0];
}
