import { Access } from "#proto/waybill/options/v1/options.ts";
import type { Contract } from "#shared/contract/contract.ts";

export const TOKEN_CHECK = "envoy.filters.http.jwt_authn";
const PROVIDER = "waybill";
/** The cluster of the front proxy's own plaintext port. */
export const OWN_CLUSTER = "front_proxy_itself";
const JWKS_PATH = "/.well-known/jwks.json";

/**
 * Verifies the access tokens of methods that require one, so that a flood of invalid ones does not reach replicas. It
 * checks signature, issuer and expiry. Services check these again, and audience, revocation, scopes and proofs.
 */
export function tokenCheck(contract: Contract, issuer: string): object {
  const requiring = contract.methods.filter(
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
            // Half of the time for which a key is published before it signs.
            cache_duration: "600s",
            async_fetch: { fast_listener: true, failed_refetch_duration: "1s" },
          },
        },
      },
      rules: requiring.map(({ path }) => ({
        match: { path },
        requires: { provider_name: PROVIDER },
      })),
    },
  };
}

/** Makes the cluster of the front proxy's own plaintext port, from which it reads the signing keys. */
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
