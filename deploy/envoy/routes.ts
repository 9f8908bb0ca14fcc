import { Access } from "#proto/waybill/options/v1/options.ts";
import type { Contract, MethodContract } from "#shared/contract/contract.ts";
import { httpRoutes, isMethod } from "./httpRoutes.ts";
import { runs } from "./programs.ts";
import { answers, header, refuses } from "./refusals.ts";

/** Services that every replica answers, whatever its roles. */
const EVERYWHERE = [
  "grpc.health.v1.Health",
  "grpc.reflection.v1.ServerReflection",
  "grpc.reflection.v1alpha.ServerReflection",
];

/** The cluster that serves what every replica answers. */
export const ANY_CLUSTER = "any";

/** Name the HTTP version and the size of a request's metadata. Set by the front proxy, for routes to match. */
export const PROTOCOL_KEY = "x-waybill-protocol";
export const METADATA_BYTES_KEY = "x-waybill-metadata-bytes";

/**
 * Answered by the front proxy itself: it listens, routes and has a secret that it can send, whichever services
 * are available.
 */
export const READY_PATH = "/ready";

/** Largest metadata of a request. A value over 64 KiB would make a replica end the shared connection. */
const MAX_METADATA_BYTES = 16 * 1024;

/** A call that was never processed may be sent again, to another replica, whatever it does. */
const NEVER_PROCESSED = "refused-stream,connect-failure";
/**
 * A call that was processed may be retried only where the contract says that repeating does no harm.
 * Not on `reset`: Envoy counts a malformed response as one, and would ask every other replica for it.
 * A client that loses a replica gets UNAVAILABLE and retries the call itself.
 */
const SAFE_TO_REPEAT = `${NEVER_PROCESSED},unavailable`;

/** Longest life of a call whose caller names no deadline, and longest deadline that is kept. */
const DEFAULT_TIMEOUT = "30s";
const LONGEST_TIMEOUT = "300s";

/** The cluster of a service: the third part of `waybill.checkout.v1.CheckoutService`. */
export function clusterOf(service: string): string {
  return service.split(".")[1] ?? service;
}

/** The methods that the front proxy serves: those that others than services may call. */
function publicMethods(contract: Contract): MethodContract[] {
  const open: readonly Access[] = [Access.ACCESS_PUBLIC, Access.ACCESS_AUTHENTICATED];
  return contract.methods.filter((method) => open.includes(method.access));
}

/** The services that have such methods. */
export function publicServices(contract: Contract): string[] {
  return [...new Set(publicMethods(contract).map((method) => method.service))].sort();
}

/**
 * The front proxy's routes, out of the contract. All other methods are UNIMPLEMENTED: internal services have
 * no way in.
 */
export function routes(contract: Contract): object[] {
  const toMethod = ({ service, repeatable, singleUseProof }: MethodContract) =>
    toCluster(
      clusterOf(service),
      // A proof that is good for one call is spent by the first attempt.
      repeatable && !singleUseProof ? SAFE_TO_REPEAT : NEVER_PROCESSED,
      DEFAULT_TIMEOUT,
    );
  const exact = publicMethods(contract).map((method) => ({
    match: { path: method.path, grpc: {}, headers: [isMethod("POST")] },
    route: toMethod(method),
  }));
  const everywhere = EVERYWHERE.map((service) => ({
    match: { prefix: `/${service}/`, grpc: {}, headers: [isMethod("POST")] },
    // Reflection and health watches stay open.
    route: toCluster(ANY_CLUSTER, NEVER_PROCESSED, "0s"),
  }));
  return [
    {
      // Values of a key that is sent twice are joined by a comma, which no credential contains.
      match: {
        prefix: "/",
        headers: [{ name: "authorization", string_match: { contains: "," } }],
      },
      ...answers(401),
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
      ...answers(431),
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
    { match: { path: READY_PATH, headers: [isMethod("GET")] }, ...answers(200, runs("ready")) },
    ...httpRoutes(contract, (path) => toMethod(contract.method(path))),
    ...[...publicServices(contract), ...EVERYWHERE].flatMap((service) => {
      const path = { prefix: `/${service}/` };
      return [
        { match: { ...path, grpc: {}, headers: [isMethod("POST")] }, ...answers(404) },
        { match: { ...path, headers: [isMethod("POST")] }, ...answers(415) },
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
