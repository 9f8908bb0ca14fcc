import type { Contract } from "#shared/contract/contract.ts";
import { FRONT_PROXY_KEY } from "#shared/server/frontProxy.ts";
import { cluster, type Discovery } from "./clusters.ts";
import { programs } from "./programs.ts";
import { header, refusals } from "./refusals.ts";
import {
  ANY_CLUSTER,
  clusterOf,
  METADATA_BYTES_KEY,
  PROTOCOL_KEY,
  publicServices,
  routes,
} from "./routes.ts";
import { fromCallers, type TlsFiles } from "./tls.ts";
import { jwksCluster, tokenCheck } from "./tokenCheck.ts";
import { transcoder } from "./transcoder.ts";

/** The settings that differ between environments. */
export interface Place {
  /** The plaintext listener. */
  listen: { address: string; port: number };
  /** The TLS listener, and its certificate. */
  listenTls: { address: string; port: number; files: TlsFiles };
  /** The certificate for mutual TLS with replicas; undefined: plaintext. */
  replicaTls: TlsFiles | undefined;
  /** Envoy's admin port: loopback only. */
  admin: { address: string; port: number };
  /** `iss` of access tokens. */
  issuer: string;
  /** Destination of the access log. */
  accessLog: { file: string } | "stdout";
  /** Returns the discovery of a cluster's replicas. */
  discovery(cluster: string): Discovery;
}

/**
 * Largest metadata of a request that Envoy reads, in KiB, and the most keys: six times the limit for callers, so
 * that a caller above its limit gets an error. Above these Envoy resets the stream without one. Each connection and
 * each stream can make Envoy buffer that much.
 */
const MAX_HEADERS_KIB = 96;
const MAX_HEADERS = 1000;
/** Most connections from callers. */
const MAX_CONNECTIONS = 10_000;

/** Makes Envoy's configuration for an environment. */
export function bootstrap(contract: Contract, place: Place): object {
  const clusters = [...publicServices(contract).map(clusterOf), ANY_CLUSTER];
  const way = sharedWay(contract, place);
  return {
    node: { id: "front-proxy", cluster: "waybill" },
    admin: { address: socket(place.admin) },
    overload_manager: {
      resource_monitors: [
        {
          name: "envoy.resource_monitors.global_downstream_max_connections",
          typed_config: {
            "@type":
              "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
            max_active_downstream_connections: MAX_CONNECTIONS,
          },
        },
      ],
    },
    static_resources: {
      listeners: [
        listener("front_proxy", place.listen, way),
        listener("front_proxy_tls", place.listenTls, way, place.listenTls.files),
      ],
      clusters: [
        ...clusters.map((name) => cluster(name, place.discovery(name), place.replicaTls)),
        jwksCluster(place.listen.port),
      ],
    },
  };
}

function listener(
  name: string,
  listen: { address: string; port: number },
  way: object,
  files?: TlsFiles,
): object {
  return {
    name,
    address: socket(listen),
    per_connection_buffer_limit_bytes: 1024 * 1024,
    filter_chains: [
      {
        filters: [
          {
            name: "envoy.filters.network.http_connection_manager",
            typed_config: connectionManager(way, files !== undefined),
          },
        ],
        ...(files && { transport_socket: fromCallers(files) }),
      },
    ],
  };
}

function connectionManager(way: object, isTls: boolean): object {
  return {
    "@type":
      "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    stat_prefix: "front_proxy",
    // gRPC needs HTTP/2; plain HTTP routes, such as the signing keys, allow HTTP/1.1, too.
    codec_type: "AUTO",
    http2_protocol_options: {
      max_concurrent_streams: 1000,
      connection_keepalive: { interval: "60s", timeout: "20s" },
    },
    // Callers' forwarding headers are not trusted: they could fake an address.
    use_remote_address: true,
    forward_client_cert_details: isTls ? "SANITIZE_SET" : "SANITIZE",
    max_request_headers_kb: MAX_HEADERS_KIB,
    common_http_protocol_options: {
      max_headers_count: MAX_HEADERS,
      headers_with_underscores_action: "ALLOW",
      idle_timeout: "600s",
    },
    request_headers_timeout: "10s",
    stream_idle_timeout: "300s",
    normalize_path: true,
    generate_request_id: true,
    // Routes match headers alone. The filter below removes these again.
    early_header_mutation_extensions: [
      {
        name: "envoy.http.early_header_mutation.header_mutation",
        typed_config: {
          "@type":
            "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
          mutations: [
            { append: header(PROTOCOL_KEY, "%PROTOCOL%") },
            { append: header(METADATA_BYTES_KEY, "%REQUEST_HEADERS_BYTES%") },
          ],
        },
      },
    ],
    ...way,
  };
}

/** Makes the filters, routes and refusals that both listeners share. The chart's YAML has them once, with an alias. */
function sharedWay(contract: Contract, { accessLog: log, issuer }: Place): object {
  return {
    access_log: [accessLog(log)],
    http_filters: [
      {
        name: "envoy.filters.http.header_mutation",
        typed_config: {
          "@type":
            "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
          // Callers must not set the cluster's internal headers.
          mutations: {
            request_mutations: ["x-waybill-", "x-envoy-"].map((prefix) => ({
              remove_on_match: { key_matcher: { prefix } },
            })),
          },
        },
      },
      programs(),
      transcoder(contract),
      tokenCheck(contract, issuer),
      {
        name: "envoy.filters.http.router",
        typed_config: {
          "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
          suppress_envoy_headers: true,
        },
      },
    ],
    local_reply_config: refusals(),
    route_config: {
      name: "front_proxy",
      virtual_hosts: [
        {
          name: "waybill",
          domains: ["*"],
          routes: routes(contract),
          // Added after the filter above has removed callers' headers of such names.
          request_headers_to_add: [
            {
              header: {
                key: FRONT_PROXY_KEY,
                value: "%ENVIRONMENT(WAYBILL_FRONT_PROXY_SECRET)%",
              },
              append_action: "OVERWRITE_IF_EXISTS_OR_ADD",
            },
          ],
        },
      ],
    },
  };
}

function accessLog(log: Place["accessLog"]): object {
  const log_format = { json_format: ACCESS_LOG };
  const type = "type.googleapis.com/envoy.extensions.access_loggers";
  return log === "stdout"
    ? {
        name: "envoy.access_loggers.stdout",
        typed_config: { "@type": `${type}.stream.v3.StdoutAccessLog`, log_format },
      }
    : {
        name: "envoy.access_loggers.file",
        typed_config: { "@type": `${type}.file.v3.FileAccessLog`, path: log.file, log_format },
      };
}

/** Without callers' metadata, which contain waybills and credentials. */
const ACCESS_LOG = {
  time: "%START_TIME%",
  path: "%REQ(:PATH)%",
  status: "%GRPC_STATUS(SNAKE_STRING)%",
  flags: "%RESPONSE_FLAGS%",
  details: "%RESPONSE_CODE_DETAILS%",
  duration_ms: "%DURATION%",
  attempts: "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
  replica: "%UPSTREAM_HOST%",
  caller: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
  request_id: "%REQ(X-REQUEST-ID)%",
  bytes_received: "%BYTES_RECEIVED%",
  bytes_sent: "%BYTES_SENT%",
};

function socket({ address, port }: { address: string; port: number }): object {
  return { socket_address: { address, port_value: port } };
}
