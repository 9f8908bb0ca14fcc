import type { HttpBody } from "#proto/google/api/httpbody.ts";
import { SIGNING_ALGORITHMS } from "#shared/auth/tokens/verificationKeys.ts";
import type { TokenDependencies } from "../index.ts";
import { json } from "./getJwks.ts";

const SERVICE = "/waybill.token.v1.TokenService";

/**
 * Returns the authorization server metadata (RFC 8414). The endpoints are gRPC methods and take messages
 * of the proto.
 */
export const getServerMetadata =
  ({ issuer }: Pick<TokenDependencies, "issuer">) =>
  async (): Promise<HttpBody> =>
    json("application/json", {
      issuer,
      jwks_uri: `${issuer}/.well-known/jwks.json`,
      token_endpoint: `${issuer}${SERVICE}`,
      revocation_endpoint: `${issuer}${SERVICE}/Revoke`,
      introspection_endpoint: `${issuer}${SERVICE}/Introspect`,
      grant_types_supported: [
        "client_credentials",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "urn:ietf:params:oauth:grant-type:token-exchange",
      ],
      response_types_supported: [],
      token_endpoint_auth_methods_supported: ["client_secret_post", "private_key_jwt", "none"],
      token_endpoint_auth_signing_alg_values_supported: SIGNING_ALGORITHMS,
      dpop_signing_alg_values_supported: SIGNING_ALGORITHMS,
      tls_client_certificate_bound_access_tokens: true,
    });
