import { X509Certificate } from "node:crypto";
import type {
  CreateIssuerRequest,
  DeleteIssuerRequest,
  DeleteIssuerResponse,
  GetIssuerRequest,
  Issuer,
  ListIssuersRequest,
  ListIssuersResponse,
  UpdateIssuerRequest,
} from "#proto/waybill/identity/v1/identity.ts";
import type { Context } from "#shared/contract/handlers.ts";
import { Errors } from "#shared/errors.ts";
import type { IdentityParts } from "./parts.ts";
import type { IssuerRow } from "./sql/readIssuer.ts";
import { common, type Resource, StandardMethods } from "./standardMethods.ts";

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
    ...common(row),
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

/** The handlers of trusted issuers. */
export function issuerHandlers(parts: IdentityParts) {
  const methods = new StandardMethods(ISSUERS, parts);
  return {
    getIssuer: ({ name }: GetIssuerRequest, context: Context): Promise<Issuer> =>
      methods.get(name, context),

    listIssuers: async (
      request: ListIssuersRequest,
      context: Context,
    ): Promise<ListIssuersResponse> => {
      const { page, nextPageToken } = await methods.list(request, context);
      return { issuers: page, nextPageToken };
    },

    createIssuer: async (
      { issuer, issuerId }: CreateIssuerRequest,
      context: Context,
    ): Promise<Issuer> => {
      check(issuer!, Object.keys(ISSUERS.columns));
      return methods.create(issuerId, issuer!, context);
    },

    updateIssuer: async (
      { issuer, updateMask }: UpdateIssuerRequest,
      context: Context,
    ): Promise<Issuer> => {
      check(issuer!, updateMask?.length ? updateMask : Object.keys(ISSUERS.columns));
      return methods.update(issuer!, updateMask, context);
    },

    deleteIssuer: async (
      { name, etag }: DeleteIssuerRequest,
      context: Context,
    ): Promise<DeleteIssuerResponse> => {
      await methods.delete(name, etag, context);
      return {};
    },
  };
}

/** @throws StatusError INVALID_FIELD, naming each field at fault among those to be written */
function check(issuer: Issuer, paths: readonly string[]): void {
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
    return "is no certificate in PEM";
  }
}
