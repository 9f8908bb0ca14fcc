import { createHash, randomBytes } from "node:crypto";
import type { Context } from "waybill";
import type {
  RotateServiceAccountSecretRequest,
  RotateServiceAccountSecretResponse,
} from "#proto/waybill/identity/v1/identity.ts";
import type { IdentityDependencies } from "../index.ts";
import { changeRow } from "../resources.ts";
import { SERVICE_ACCOUNTS } from "./serviceAccount.ts";

const SECRET_BYTES = 32;

/** Replaces a service account's secret. Stores only its digest, and revokes the account's tokens. */
export const rotateServiceAccountSecret =
  (dependencies: IdentityDependencies) =>
  async (
    { name }: RotateServiceAccountSecretRequest,
    context: Context,
  ): Promise<RotateServiceAccountSecretResponse> => {
    const secret = randomBytes(SECRET_BYTES).toString("base64url");
    await changeRow(dependencies, SERVICE_ACCOUNTS, context, {
      id: name.slice("serviceAccounts/".length),
      etag: "",
      columns: { secret_digest: createHash("sha256").update(secret).digest() },
      action: "rotateSecret",
      revokes: () => true,
    });
    return { secret };
  };
