import { status } from "@grpc/grpc-js";
import { Errors, type StatusError, vocabulary } from "#shared/errors.ts";
import { runs } from "./programs.ts";
import { TOKEN_CHECK } from "./tokenCheck.ts";

/** Errors of the front proxy itself. */
const Refusals = vocabulary("waybill", {
  REQUEST_MALFORMED: [status.INVALID_ARGUMENT, "The request is not valid HTTP."],
  METHOD_NOT_FOUND: [status.UNIMPLEMENTED, "There is no such method."],
  HTTP_METHOD_NOT_ALLOWED: [
    status.UNIMPLEMENTED,
    "This path does not take this HTTP method. Send one that the header `allow` names.",
  ],
  CONTENT_TYPE_UNSUPPORTED: [
    status.UNIMPLEMENTED,
    "This path takes gRPC. Send the content-type `application/grpc`.",
  ],
  HTTP_VERSION_UNSUPPORTED: [
    status.UNIMPLEMENTED,
    "gRPC needs HTTP/2: its status comes in trailers, which HTTP/1.1 may lose.",
  ],
  REQUEST_TOO_LARGE: [status.RESOURCE_EXHAUSTED, "The request is too large."],
  DEADLINE_EXCEEDED: [
    status.DEADLINE_EXCEEDED,
    "The call took longer than its deadline, or nothing was sent on it for too long.",
  ],
  SERVICE_UNAVAILABLE: [
    status.UNAVAILABLE,
    "The service is not available at the moment. Try again.",
  ],
});

/** The most metadata keys of a request. Replicas refuse more. */
const MAX_KEYS = 64;

/** Envoy's HTTP status of each refusal, and the error that the caller gets. */
const BY_STATUS: readonly (readonly [httpStatus: number, error: StatusError])[] = [
  [400, Refusals.REQUEST_MALFORMED()],
  [401, Errors.CREDENTIAL_INVALID()],
  [404, Refusals.METHOD_NOT_FOUND()],
  [405, Refusals.HTTP_METHOD_NOT_ALLOWED()],
  [408, Refusals.DEADLINE_EXCEEDED()],
  [413, Refusals.REQUEST_TOO_LARGE()],
  [415, Refusals.CONTENT_TYPE_UNSUPPORTED()],
  [431, Errors.METADATA_TOO_LARGE()],
  [502, Errors.INTERNAL()],
  [503, Refusals.SERVICE_UNAVAILABLE()],
  [504, Refusals.DEADLINE_EXCEEDED()],
  [505, Refusals.HTTP_VERSION_UNSUPPORTED()],
];

/**
 * Gives each of Envoy's own responses a gRPC status and an ErrorInfo, as a service's error has. Without them gRPC
 * derives the status from HTTP's, and clients retry calls that can never succeed. Envoy uses the first mapper that
 * matches.
 */
export function refusals(): object {
  return {
    mappers: [
      // Without the signing keys a token cannot be called invalid.
      mapper(Errors.KEYS_UNAVAILABLE(), 503, when(because("Jwks_remote_fetch_is_failed"))),
      // A replica reads at most 128 headers, and resets the stream of a request with more.
      mapper(
        Errors.METADATA_TOO_LARGE(),
        431,
        when(`${because("{remote_reset")} && size(request.headers) > ${MAX_KEYS}`),
      ),
      // The response was malformed or too large; another replica's would be, too.
      mapper(
        Errors.INTERNAL(),
        502,
        when(`${because("{protocol_error")} || ${because("{remote_reset")}`),
      ),
      ...BY_STATUS.map(([httpStatus, error]) => mapper(error, httpStatus, ofStatus(httpStatus))),
    ],
  };
}

/** Matches Envoy's response code details. */
function because(part: string): string {
  return `response.code_details.contains("${part}")`;
}

/** Makes a filter from a CEL expression. Envoy evaluates it for its own responses only. */
function when(expression: string): object {
  return {
    extension_filter: {
      name: "envoy.access_loggers.extension_filters.cel",
      typed_config: {
        "@type":
          "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
        expression,
      },
    },
  };
}

function ofStatus(httpStatus: number): object {
  return {
    status_code_filter: {
      comparison: {
        op: "EQ",
        value: { default_value: httpStatus, runtime_key: "refusals.status" },
      },
    },
  };
}

function mapper(error: StatusError, httpStatus: number, filter: object): object {
  const { code, details, metadata } = error.toStatusObject();
  const [packed] = metadata?.get("grpc-status-details-bin") ?? [];
  return {
    filter,
    status_code: httpStatus,
    body: { inline_string: details },
    headers_to_add: [
      header("grpc-status", `${code}`),
      // Binary metadata are base64 without padding.
      header(
        "grpc-status-details-bin",
        Buffer.from(packed as Buffer)
          .toString("base64")
          .replaceAll("=", ""),
      ),
    ],
  };
}

/**
 * Makes a direct response of Envoy to a route, without a token check.
 *
 * @param program of `runs`. Default: none
 */
export function responds(httpStatus: number, program: object = {}): DirectResponse {
  return {
    direct_response: { status: httpStatus },
    typed_per_filter_config: {
      [TOKEN_CHECK]: {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig",
        disabled: true,
      },
      ...program,
    },
  };
}

/** Makes a direct response with this HTTP status even for gRPC's content-type, where Envoy would send 200. */
export function refuses(httpStatus: number): DirectResponse {
  return responds(httpStatus, runs("refuse", { status: `${httpStatus}` }));
}

interface DirectResponse {
  direct_response: { status: number };
  typed_per_filter_config: object;
}

/** Makes a header that replaces any of its name. */
export function header(key: string, value: string): object {
  return { header: { key, value }, append_action: "OVERWRITE_IF_EXISTS_OR_ADD" };
}
