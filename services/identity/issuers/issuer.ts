import { X509Certificate } from "node:crypto";
import { Errors } from "waybill";
import type { Issuer } from "#proto/waybill/identity/v1/identity.ts";
import { commonFields, type Resource } from "../resources.ts";
import type { IssuerRow } from "../sql/readIssuer.ts";

export const ISSUERS: Resource<Issuer, IssuerRow> = {
  table: "issuer",
  collection: "issuers",
  kind: "issuer",
  toMessage: (row) => ({
    name: `issuers/${row.id}`,
    issuer: row.issuer,
    jwksUri: row.jwks_uri,
    caCertificate: row.ca_certificate,
    algorithms: row.algorithms,
    audience: row.audience,
    bindings: row.bindings,
    ...commonFields(row),
  }),
  columns: {
    issuer: ({ issuer }) => ({ issuer }),
    jwks_uri: ({ jwksUri }) => ({ jwks_uri: jwksUri }),
    ca_certificate: ({ caCertificate }) => ({ ca_certificate: caCertificate }),
    algorithms: ({ algorithms }) => ({
      algorithms: algorithms.length === 0 ? ["RS256"] : algorithms,
    }),
    audience: ({ audience }) => ({ audience }),
    bindings: ({ bindings }) => ({
      bindings: JSON.stringify(
        bindings.map(({ claims, serviceAccount }) => ({ claims, serviceAccount })),
      ),
    }),
  },
};

/**
 * Checks the fields that a call writes.
 *
 * @param paths update-mask paths of the fields that the call writes
 * @throws StatusError INVALID_FIELD, naming each invalid field
 */
export function checkIssuer(issuer: Issuer, paths: readonly string[]): void {
  const violations = [
    { field: "issuer", fault: issuer.issuer === "" ? "value is required" : undefined },
    { field: "jwks_uri", fault: addressFault(issuer.jwksUri) },
    { field: "ca_certificate", fault: certificateFault(issuer.caCertificate) },
  ]
    .filter(({ field, fault }) => fault !== undefined && paths.includes(field))
    .map(({ field, fault }) => ({ field: `issuer.${field}`, description: fault! }));
  if (violations.length > 0) throw Errors.INVALID_FIELD({ violations });
}

function addressFault(text: string): string | undefined {
  const url = URL.parse(text);
  const isPlain = url?.protocol === "https:" && !url.username && !url.password && !url.hash;
  return isPlain ? undefined : "must be an https address without credentials or fragment";
}

function certificateFault(pem: string): string | undefined {
  if (pem === "") return undefined;
  try {
    new X509Certificate(pem);
    return undefined;
  } catch {
    return "must be a certificate in PEM";
  }
}
