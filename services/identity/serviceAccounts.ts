import { createHash, randomBytes } from "node:crypto";
import type {
  CreateServiceAccountRequest,
  DeleteServiceAccountRequest,
  DeleteServiceAccountResponse,
  Exchange,
  GetServiceAccountRequest,
  ListServiceAccountsRequest,
  ListServiceAccountsResponse,
  RotateServiceAccountSecretRequest,
  RotateServiceAccountSecretResponse,
  ServiceAccount,
  UpdateServiceAccountRequest,
} from "#proto/waybill/identity/v1/identity.ts";
import { importKeys, SIGNING_ALGORITHMS } from "#shared/auth/tokens/verificationKeys.ts";
import type { Context } from "#shared/contract/handlers.ts";
import { Errors } from "#shared/errors.ts";
import type { IdentityParts } from "./parts.ts";
import type { ResourceRow } from "./sql/rows.ts";
import { common, type Resource, StandardMethods } from "./standardMethods.ts";

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
    ...common(row),
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

const SECRET_BYTES = 32;

/** A new secret of a service account: 256 random bits, and what is kept of them. */
export function makeSecret(): { secret: string; digest: Buffer } {
  const secret = randomBytes(SECRET_BYTES).toString("base64url");
  return { secret, digest: createHash("sha256").update(secret).digest() };
}

/** The handlers of service accounts. */
export function serviceAccountHandlers(parts: IdentityParts) {
  const methods = new StandardMethods(SERVICE_ACCOUNTS, parts);
  return {
    getServiceAccount: (
      { name }: GetServiceAccountRequest,
      context: Context,
    ): Promise<ServiceAccount> => methods.get(name, context),

    listServiceAccounts: async (
      request: ListServiceAccountsRequest,
      context: Context,
    ): Promise<ListServiceAccountsResponse> => {
      const { page, nextPageToken } = await methods.list(request, context);
      return { serviceAccounts: page, nextPageToken };
    },

    createServiceAccount: async (
      { serviceAccount, serviceAccountId }: CreateServiceAccountRequest,
      context: Context,
    ): Promise<ServiceAccount> => {
      await checkJwks(serviceAccount!.jwks);
      return methods.create(serviceAccountId, serviceAccount!, context);
    },

    updateServiceAccount: async (
      { serviceAccount, updateMask }: UpdateServiceAccountRequest,
      context: Context,
    ): Promise<ServiceAccount> => {
      await checkJwks(serviceAccount!.jwks);
      return methods.update(serviceAccount!, updateMask, context);
    },

    deleteServiceAccount: async (
      { name, etag }: DeleteServiceAccountRequest,
      context: Context,
    ): Promise<DeleteServiceAccountResponse> => {
      await methods.delete(name, etag, context);
      return {};
    },

    rotateServiceAccountSecret: async (
      { name }: RotateServiceAccountSecretRequest,
      context: Context,
    ): Promise<RotateServiceAccountSecretResponse> => {
      const { secret, digest } = makeSecret();
      const id = name.slice("serviceAccounts/".length);
      const columns = { secret_digest: digest };
      await methods.change(context, id, "", columns, "rotateSecret", { newEpoch: () => true });
      return { secret };
    },
  };
}

/** @throws StatusError INVALID_FIELD when a key is missing, or is not one that can be used */
async function checkJwks(jwks: string): Promise<void> {
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
    throw invalid("every key must have a kid, and be of Ed25519 or P-256");
  }
  if (set.keys.some((key) => key.d !== undefined)) {
    throw invalid("holds a private key: make another, and give its public half alone");
  }
}
