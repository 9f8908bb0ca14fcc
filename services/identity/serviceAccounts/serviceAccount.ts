import { Errors } from "waybill";
import type { Exchange, ServiceAccount } from "#proto/waybill/identity/v1/identity.ts";
import { importKeys, SIGNING_ALGORITHMS } from "#shared/auth/tokens/verificationKeys.ts";
import { commonFields, type Resource } from "../resources.ts";
import type { ResourceRow } from "../sql/rows.ts";

export interface ServiceAccountRow extends ResourceRow {
  display_name: string;
  public: boolean;
  scopes: string[];
  audiences: string[];
  jwks: string;
  exchange: number;
  require_binding: boolean;
  disabled: boolean;
  secret_digest: Buffer | null;
  epoch: number;
}

export const SERVICE_ACCOUNTS: Resource<ServiceAccount, ServiceAccountRow> = {
  table: "service_account",
  collection: "serviceAccounts",
  kind: "serviceAccount",
  toMessage: (row) => ({
    name: `serviceAccounts/${row.id}`,
    displayName: row.display_name,
    public: row.public,
    scopes: row.scopes,
    audiences: row.audiences,
    jwks: row.jwks,
    exchange: row.exchange as Exchange,
    requireBinding: row.require_binding,
    disabled: row.disabled,
    ...commonFields(row),
  }),
  columns: {
    display_name: ({ displayName }) => ({ display_name: displayName }),
    public: (account) => ({ public: account.public }),
    scopes: ({ scopes }) => ({ scopes }),
    audiences: ({ audiences }) => ({ audiences }),
    jwks: ({ jwks }) => ({ jwks }),
    exchange: ({ exchange }) => ({ exchange }),
    require_binding: ({ requireBinding }) => ({ require_binding: requireBinding }),
    disabled: ({ disabled }) => ({ disabled }),
  },
  revokes: (paths, row) =>
    (paths.includes("disabled") && row.disabled) ||
    ["jwks", "scopes", "audiences", "public"].some((path) => paths.includes(path)),
};

/**
 * Checks that a JWK set holds public keys only, each with a supported algorithm. Empty: no keys.
 *
 * @throws StatusError INVALID_FIELD
 */
export async function checkJwks(jwks: string): Promise<void> {
  if (jwks === "") return;
  const invalid = (description: string, cause?: unknown) =>
    Errors.INVALID_FIELD({
      cause,
      violations: [{ field: "service_account.jwks", description }],
    });
  let set: { keys?: { d?: unknown }[] };
  try {
    set = JSON.parse(jwks);
  } catch (cause) {
    throw invalid("is not JSON", cause);
  }
  const usable = await importKeys(set, SIGNING_ALGORITHMS).catch((cause: Error) => {
    throw invalid(`is not a JWK set: ${cause.message}`, cause);
  });
  if (usable.size !== set.keys?.length) {
    throw invalid("every key must have a kid, and be an Ed25519 or P-256 key");
  }
  if (set.keys.some((key) => key.d !== undefined)) {
    throw invalid("contains a private key: create a new key pair, and send only its public key");
  }
}
