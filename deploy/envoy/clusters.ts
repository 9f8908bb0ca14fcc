import { INTERNAL_NAME } from "#shared/auth/credentials/tls.ts";
import { type TlsFiles, toReplicas } from "./tls.ts";

/** Discovery of a cluster's replicas. */
export type Discovery =
  /** From a file that is replaced when they change. */
  | { kind: "file"; file: string; folder: string }
  /** From DNS: a headless service, one address for each pod. */
  | { kind: "dns"; host: string; port: number };

/**
 * Largest metadata of a response, in KiB: Envoy's maximum. A larger response ends its stream; one with a single
 * value of twice that length ends the connection, with every call on it.
 */
const MAX_RESPONSE_HEADERS_KIB = 8192;

/** The Envoy cluster of one role's replicas. @param tls undefined: plaintext */
export function cluster(name: string, discovery: Discovery, tls: TlsFiles | undefined): object {
  return {
    name,
    ...discoveryOf(name, discovery),
    ...(tls && { transport_socket: toReplicas(tls, INTERNAL_NAME) }),
    connect_timeout: "1s",
    lb_policy: "LEAST_REQUEST",
    // A new replica gets calls as soon as it is healthy; by default up to a second later.
    common_lb_config: { update_merge_window: "0.1s" },
    // A removed replica gets no new calls; its calls in flight continue.
    ignore_health_on_host_removal: true,
    per_connection_buffer_limit_bytes: 1024 * 1024,
    typed_extension_protocol_options: HTTP_OPTIONS,
    health_checks: [HEALTH_CHECK],
    outlier_detection: OUTLIER_DETECTION,
    circuit_breakers: { thresholds: [CIRCUIT_BREAKER] },
  };
}

const HTTP_OPTIONS = {
  "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    common_http_protocol_options: { max_response_headers_kb: MAX_RESPONSE_HEADERS_KIB },
    explicit_http_config: {
      http2_protocol_options: {
        // A malformed response ends its own stream. Otherwise Envoy ends the connection, and other callers' calls
        // on it. nghttp2 also does so on any value over 64 KiB.
        use_oghttp2_codec: true,
        override_stream_error_on_invalid_http_message: true,
        max_concurrent_streams: 500,
        connection_keepalive: { interval: "30s", timeout: "10s" },
      },
    },
  },
};

const HEALTH_CHECK = {
  grpc_health_check: {},
  timeout: "1s",
  interval: "1s",
  no_traffic_interval: "1s",
  unhealthy_threshold: 2,
  healthy_threshold: 1,
};

/** Ejects a replica that is unreachable, not one that responds UNAVAILABLE: a lack of keys affects all replicas. */
const OUTLIER_DETECTION = {
  split_external_local_origin_errors: true,
  consecutive_local_origin_failure: 3,
  enforcing_consecutive_local_origin_failure: 100,
  enforcing_consecutive_5xx: 0,
  enforcing_consecutive_gateway_failure: 0,
  enforcing_success_rate: 0,
  enforcing_local_origin_success_rate: 0,
  enforcing_failure_percentage: 0,
  interval: "1s",
  base_ejection_time: "2s",
  max_ejection_percent: 50,
};

/** Replicas shed load themselves. The defaults of 1,024 would fail fast calls that queue behind slow ones. */
const CIRCUIT_BREAKER = {
  max_connections: 1024,
  max_pending_requests: 65_536,
  max_requests: 65_536,
  retry_budget: { budget_percent: { value: 20 }, min_retry_concurrency: 100 },
};

function discoveryOf(name: string, discovery: Discovery): object {
  if (discovery.kind === "file") {
    return {
      type: "EDS",
      eds_cluster_config: {
        service_name: name,
        eds_config: {
          resource_api_version: "V3",
          path_config_source: {
            path: discovery.file,
            watched_directory: { path: discovery.folder },
          },
        },
      },
    };
  }
  return {
    cluster_type: {
      name: "envoy.clusters.dns",
      typed_config: {
        "@type": "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster",
        dns_lookup_family: "V4_PREFERRED",
        dns_refresh_rate: "2s",
        // Each address is one replica.
        all_addresses_in_single_endpoint: false,
      },
    },
    load_assignment: {
      cluster_name: name,
      endpoints: [
        {
          lb_endpoints: [
            {
              endpoint: {
                address: {
                  socket_address: { address: discovery.host, port_value: discovery.port },
                },
              },
            },
          ],
        },
      ],
    },
  };
}
