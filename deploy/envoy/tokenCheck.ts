import { Access } from "#proto/waybill/options/v1/options.ts";
import type { Contract } from "#shared/contract/contract.ts";

export const TOKEN_CHECK = "envoy.filters.http.jwt_authn";
const PROVIDER = "waybill";
/** The front proxy itself, for what it asks as others do. */
export const OWN_CLUSTER = "front_proxy_itself";
const JWKS_PATH = "/.well-known/jwks.json";

/**
 * Verifies the access tokens of methods that demand one, so that a flood of bad ones reaches no
 * replica. It knows signature, issuer and life; audience, revocation, scopes and proofs are the
 * services' to check, and they check the rest as well.
 */
export function tokenCheck(contract: Contract, issuer: string): object {
  const demanding = contract.methods.filter(
    (method) => method.access === Access.ACCESS_AUTHENTICATED,
  );
  return {
    name: TOKEN_CHECK,
    typed_config: {
      "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
      providers: {
        [PROVIDER]: {
          issuer,
          forward: true,
          from_headers: ["Bearer ", "bearer ", "DPoP ", "dpop "].map((value_prefix) => ({
            name: "authorization",
            value_prefix,
          })),
          jwt_cache_config: { jwt_cache_size: 1000 },
          remote_jwks: {
            http_uri: {
              uri: `http://front-proxy${JWKS_PATH}`,
              cluster: OWN_CLUSTER,
              timeout: "2s",
            },
            // Half of what a key is published before it signs.
            cache_duration: "600s",
            async_fetch: { fast_listener: true, failed_refetch_duration: "1s" },
          },
        },
      },
      rules: demanding.map(({ path }) => ({
        match: { path },
        requires: { provider_name: PROVIDER },
      })),
    },
  };
}

/** The front proxy's own plaintext port, by which it reads the keys as everyone does. */
export function jwksCluster(port: number): object {
  return {
    name: OWN_CLUSTER,
    type: "STATIC",
    connect_timeout: "1s",
    load_assignment: {
      cluster_name: OWN_CLUSTER,
      endpoints: [
        {
          lb_endpoints: [
            {
              endpoint: {
                address: { socket_address: { address: "127.0.0.1", port_value: port } },
              },
            },
          ],
        },
      ],
    },
  };
}
