import { Access } from "#proto/waybill/options/v1/options.ts";
import type { Contract, MethodContract } from "#shared/contract/contract.ts";
import { httpRoutes, isMethod } from "./httpRoutes.ts";
import { runs } from "./programs.ts";
import { header, refuses, responds } from "./refusals.ts";

/** Services of every replica, whatever its roles. */
const EVERYWHERE = [
  "grpc.health.v1.Health",
  "grpc.reflection.v1.ServerReflection",
  "grpc.reflection.v1alpha.ServerReflection",
];

/** The cluster of all replicas. */
export const ANY_CLUSTER = "any";

/** Headers with the HTTP version and the size of a request's metadata. The front proxy sets them for its routes to match. */
export const PROTOCOL_KEY = "x-waybill-protocol";
export const METADATA_BYTES_KEY = "x-waybill-metadata-bytes";

/**
 * Readiness of the front proxy itself: it listens, routes and has a valid secret. It does not depend on services.
 */
export const READY_PATH = "/ready";

/** Largest metadata of a request, in bytes. A value over 64 KiB would make a replica end the shared connection. */
const MAX_METADATA_BYTES = 16 * 1024;

/** Any call that was not processed may be retried on another replica. */
const NEVER_PROCESSED = "refused-stream,connect-failure";
/**
 * A call that may have been processed is retried only if its contract says that it is safe to repeat. Not on `reset`:
 * Envoy counts a malformed response as one, and would retry on every replica. A client that loses a replica gets
 * UNAVAILABLE and retries the call itself.
 */
const SAFE_TO_REPEAT = `${NEVER_PROCESSED},unavailable`;

/** Timeout of a call without a deadline, and the longest deadline that callers may set. */
const DEFAULT_TIMEOUT = "30s";
const LONGEST_TIMEOUT = "300s";

/** Returns the cluster of a service: `checkout` for `waybill.checkout.v1.CheckoutService`. */
export function clusterOf(service: string): string {
  return service.split(".")[1] ?? service;
}

/** Returns the methods that callers other than services may call. */
function publicMethods(contract: Contract): MethodContract[] {
  const open: readonly Access[] = [Access.ACCESS_PUBLIC, Access.ACCESS_AUTHENTICATED];
  return contract.methods.filter((method) => open.includes(method.access));
}

/** Returns the services with such methods. */
export function publicServices(contract: Contract): string[] {
  return [...new Set(publicMethods(contract).map((method) => method.service))].sort();
}

/** Makes the front proxy's routes from the contract. Other methods, such as internal services', are UNIMPLEMENTED. */
export function routes(contract: Contract): object[] {
  const toMethod = ({ service, repeatable, singleUseProof }: MethodContract) =>
    toCluster(
      clusterOf(service),
      // The first attempt spends a single-use proof.
      repeatable && !singleUseProof ? SAFE_TO_REPEAT : NEVER_PROCESSED,
      DEFAULT_TIMEOUT,
    );
  const exact = publicMethods(contract).map((method) => ({
    match: { path: method.path, grpc: {}, headers: [isMethod("POST")] },
    route: toMethod(method),
  }));
  const everywhere = EVERYWHERE.map((service) => ({
    match: { prefix: `/${service}/`, grpc: {}, headers: [isMethod("POST")] },
    // Reflection and health watches have no timeout.
    route: toCluster(ANY_CLUSTER, NEVER_PROCESSED, "0s"),
  }));
  return [
    {
      // Envoy joins the values of a repeated key by a comma, which no credential contains.
      match: {
        prefix: "/",
        headers: [{ name: "authorization", string_match: { contains: "," } }],
      },
      ...responds(401),
    },
    {
      match: {
        prefix: "/",
        headers: [
          {
            name: METADATA_BYTES_KEY,
            range_match: { start: MAX_METADATA_BYTES + 1, end: Number.MAX_SAFE_INTEGER },
          },
        ],
      },
      ...responds(431),
    },
    {
      match: {
        prefix: "/",
        grpc: {},
        headers: [{ name: PROTOCOL_KEY, string_match: { prefix: "HTTP/1" } }],
      },
      ...refuses(505),
    },
    ...exact,
    ...everywhere,
    { match: { path: READY_PATH, headers: [isMethod("GET")] }, ...responds(200, runs("ready")) },
    ...httpRoutes(contract, (path) => toMethod(contract.method(path))),
    ...[...publicServices(contract), ...EVERYWHERE].flatMap((service) => {
      const path = { prefix: `/${service}/` };
      return [
        { match: { ...path, grpc: {}, headers: [isMethod("POST")] }, ...responds(404) },
        { match: { ...path, headers: [isMethod("POST")] }, ...responds(415) },
        { match: path, ...refuses(405), response_headers_to_add: [header("allow", "POST")] },
      ];
    }),
  ];
}

function toCluster(cluster: string, retryOn: string, timeout: string): object {
  return {
    cluster,
    timeout: "0s",
    max_stream_duration: { max_stream_duration: timeout, grpc_timeout_header_max: LONGEST_TIMEOUT },
    retry_policy: {
      retry_on: retryOn,
      num_retries: 4,
      retry_back_off: { base_interval: "0.010s", max_interval: "0.200s" },
      retry_host_predicate: [
        {
          name: "envoy.retry_host_predicates.previous_hosts",
          typed_config: {
            "@type":
              "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
          },
        },
      ],
      host_selection_retry_max_attempts: 3,
    },
  };
}
