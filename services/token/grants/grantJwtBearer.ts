import { decodeProtectedHeader } from "jose";
import type { Context } from "waybill";
import type { GrantJwtBearerRequest, TokenResponse } from "#proto/waybill/token/v1/token.ts";
import { TokenErrors } from "../errors.ts";
import type { TokenDependencies } from "../index.ts";
import { grantToClient, type Proven } from "./grantToClient.ts";

const TYPE = "jwt-bearer+jwt";

/** Issues an access token for an assertion of a client or of a trusted issuer (RFC 7523). */
export const grantJwtBearer =
  (dependencies: TokenDependencies) =>
  async (
    { assertion, wanted }: GrantJwtBearerRequest,
    context: Context,
  ): Promise<TokenResponse> => {
    const proven =
      typeOf(assertion) === TYPE
        ? { client: await dependencies.clients.assertedBy(assertion, TYPE) }
        : await externalClient(dependencies, assertion);
    return grantToClient(dependencies, context, "token.jwtBearer", wanted, proven);
  };

/** Finds the service account that a trusted issuer's token authenticates. @throws StatusError INVALID_GRANT */
export async function externalClient(
  { issuers, clients }: Pick<TokenDependencies, "issuers" | "clients">,
  jwt: string,
): Promise<Proven> {
  const { account, subject, expiresAt, boundTo } = await issuers.resolve(jwt);
  const client = await clients.find(account);
  if (client === undefined)
    throw TokenErrors.INVALID_GRANT({ cause: `unknown service account ${account}` });
  return { client, until: expiresAt, boundTo, details: { external: subject } };
}

function typeOf(jwt: string): unknown {
  try {
    return decodeProtectedHeader(jwt).typ;
  } catch (cause) {
    throw TokenErrors.INVALID_GRANT({ cause });
  }
}
