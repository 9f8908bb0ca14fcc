import { Metadata, type ServiceError, type StatusObject, status } from "@grpc/grpc-js";
import type { Any } from "../proto/gen/google/protobuf/any.ts";
import { BadRequest, ErrorInfo, RetryInfo } from "../proto/gen/google/rpc/error_details.ts";
import { Status } from "../proto/gen/google/rpc/status.ts";

/** Most field violations in one error. */
export const MAX_VIOLATIONS = 16;

// An error adds less than 4 KiB to the headers of a response. Clients accept 8 KiB in all, and a proxy may
// close a connection, with every call on it, over a header that it holds too large. The status is sent in
// base64, and its message a second time, percent-encoded.
const MAX_STATUS_BYTES = 2200;
const MAX_MESSAGE_BYTES = 300;
/** Longest field path, description, and key or value of `metadata`, in bytes. */
const MAX_TEXT_BYTES = 256;
/** Most entries of `metadata`. */
const MAX_METADATA = 16;

/** The details of one occurrence of an error. */
export interface ErrorDetails {
  /** Goes to the log, never to the caller. */
  cause?: unknown;
  /** Logs the error as a warning: it indicates an attack or data corruption. */
  alarm?: boolean;
  /** ErrorInfo.metadata (AIP-193). */
  metadata?: Record<string, string>;
  /** The invalid fields of the request, by proto path, for INVALID_ARGUMENT. */
  violations?: { field: string; description: string }[];
  /** How long the caller should wait before a retry, in milliseconds (google.rpc.RetryInfo). */
  retryAfterMs?: number;
}

/**
 * The error that a handler throws to fail a call. Every other error reaches the caller as `INTERNAL`.
 * A StatusError is sent as google.rpc.Status in `grpc-status-details-bin`, with an ErrorInfo.
 */
export class StatusError extends Error {
  readonly code: status;
  readonly domain: string;
  readonly reason: string;
  readonly details: ErrorDetails;

  constructor(
    code: status,
    domain: string,
    reason: string,
    message: string,
    details: ErrorDetails,
  ) {
    super(message, { cause: details.cause });
    this.name = "StatusError";
    this.code = code;
    this.domain = domain;
    this.reason = reason;
    this.details = details;
  }

  /**
   * Returns the status for grpc-js, in less than 4 KiB of headers: cuts longer texts, and drops the last
   * violations and entries of `metadata` if there are too many.
   */
  toStatusObject(trailers: Metadata = new Metadata()): StatusObject {
    const violations = this.details.violations?.slice(0, MAX_VIOLATIONS);
    const metadata = Object.entries(this.details.metadata ?? {}).slice(0, MAX_METADATA);
    let status = this.#encode(violations, metadata);
    while (status.length > MAX_STATUS_BYTES && violations?.pop() !== undefined) {
      status = this.#encode(violations, metadata);
    }
    while (status.length > MAX_STATUS_BYTES && metadata.pop() !== undefined) {
      status = this.#encode(violations, metadata);
    }
    trailers.set("grpc-status-details-bin", status);
    return { code: this.code, details: cut(this.message, MAX_MESSAGE_BYTES), metadata: trailers };
  }

  #encode(violations: ErrorDetails["violations"], metadata: [string, string][]): Buffer {
    return Buffer.from(Status.encode(this.#toStatus(violations, metadata)).finish());
  }

  #toStatus(violations: ErrorDetails["violations"], metadata: [string, string][]): Status {
    const { retryAfterMs } = this.details;
    const details = [
      any("google.rpc.ErrorInfo", ErrorInfo, {
        reason: this.reason,
        domain: this.domain,
        metadata: Object.fromEntries(
          metadata.map((entry) => entry.map((text) => cut(text, MAX_TEXT_BYTES))),
        ),
      }),
    ];
    if (violations !== undefined) {
      details.push(
        any("google.rpc.BadRequest", BadRequest, {
          fieldViolations: violations.map(({ field, description }) => ({
            field: cut(field, MAX_TEXT_BYTES),
            description: cut(description, MAX_TEXT_BYTES),
            reason: "",
            localizedMessage: undefined,
          })),
        }),
      );
    }
    if (retryAfterMs !== undefined) {
      details.push(
        any("google.rpc.RetryInfo", RetryInfo, {
          retryDelay: {
            seconds: BigInt(Math.floor(retryAfterMs / 1000)),
            nanos: (retryAfterMs % 1000) * 1_000_000,
          },
        }),
      );
    }
    return { code: this.code, message: cut(this.message, MAX_MESSAGE_BYTES), details };
  }
}

const ELLIPSIS = "\u2026";

/** Cuts a text to well-formed UTF-8 of at most `maxBytes`. A cut text ends with an ellipsis. */
function cut(text: string, maxBytes: number): string {
  // A UTF-16 code unit takes at most three bytes.
  const whole = text.toWellFormed();
  if (whole.length * 3 <= maxBytes) return whole;
  const bytes = Buffer.from(whole);
  if (bytes.length <= maxBytes) return whole;
  let end = maxBytes - Buffer.byteLength(ELLIPSIS);
  while ((bytes[end]! & 0xc0) === 0x80) end -= 1;
  return `${bytes.toString("utf8", 0, end)}${ELLIPSIS}`;
}

function any<T>(
  type: string,
  codec: { encode(message: T): { finish(): Uint8Array } },
  message: T,
): Any {
  return {
    typeUrl: `type.googleapis.com/${type}`,
    value: Buffer.from(codec.encode(message).finish()),
  };
}

/** A closed set of errors: for each reason, the function that makes its StatusError. */
export type Vocabulary<Reason extends string> = {
  readonly [R in Reason]: (details?: ErrorDetails) => StatusError;
};

/**
 * Defines a closed set of errors.
 *
 * @param domain ErrorInfo.domain of every error
 * @param reasons status code and public message of each reason
 */
export function vocabulary<Reason extends string>(
  domain: string,
  reasons: Record<Reason, readonly [status, string]>,
): Vocabulary<Reason> {
  const entries = Object.entries<readonly [status, string]>(reasons).map(
    ([reason, [code, message]]) => [
      reason,
      (details: ErrorDetails = {}) => new StatusError(code, domain, reason, message, details),
    ],
  );
  return Object.freeze(Object.fromEntries(entries));
}

/** The details of a failed call, as the client reads them. */
export interface ErrorReport {
  code: status;
  message: string;
  reason: string;
  domain: string;
  metadata: Record<string, string>;
  violations: { field: string; description: string }[];
  retryAfterMs: number | undefined;
}

/**
 * Reads the details of a failed call's error. Absent or unreadable details read as empty.
 */
export function readError(error: Pick<ServiceError, "code" | "details" | "metadata">): ErrorReport {
  const report: ErrorReport = {
    code: error.code,
    message: error.details,
    reason: "",
    domain: "",
    metadata: {},
    violations: [],
    retryAfterMs: undefined,
  };
  const packed = error.metadata?.get("grpc-status-details-bin")[0];
  if (!Buffer.isBuffer(packed)) return report;
  try {
    readDetails(packed, report);
  } catch {
    // Another program's details. The code and the message are still valid.
  }
  return report;
}

function readDetails(packed: Buffer, report: ErrorReport): void {
  for (const detail of Status.decode(packed).details) {
    switch (detail.typeUrl) {
      case "type.googleapis.com/google.rpc.ErrorInfo": {
        const info = ErrorInfo.decode(detail.value);
        report.reason = info.reason;
        report.domain = info.domain;
        report.metadata = info.metadata;
        break;
      }
      case "type.googleapis.com/google.rpc.BadRequest":
        report.violations = BadRequest.decode(detail.value).fieldViolations.map(
          ({ field, description }) => ({ field, description }),
        );
        break;
      case "type.googleapis.com/google.rpc.RetryInfo": {
        const delay = RetryInfo.decode(detail.value).retryDelay;
        if (delay) report.retryAfterMs = Number(delay.seconds) * 1000 + delay.nanos / 1e6;
        break;
      }
    }
  }
}

/** Waybill's errors. Programs depend on the reason; the message is for people and may change. */
export const Errors = vocabulary("waybill", {
  WAYBILL_MISSING: [
    status.UNAUTHENTICATED,
    "This method requires a waybill. Send the newest one in the metadata key `waybill`.",
  ],
  WAYBILL_INVALID: [
    status.UNAUTHENTICATED,
    "The waybill is not valid for this service and caller. Begin a new session.",
  ],
  WAYBILL_EXPIRED: [status.UNAUTHENTICATED, "The waybill has expired. Begin a new session."],
  WAYBILL_REVOKED: [
    status.UNAUTHENTICATED,
    "The session or its waybill was revoked. Resume the session if its service allows that, or begin a new one.",
  ],
  WAYBILL_STALE: [
    status.ABORTED,
    "A newer version of the session exists. Retry with its newest waybill.",
  ],
  WAYBILL_ENDED: [status.UNAUTHENTICATED, "The session has ended. Begin a new one."],
  SESSION_NOT_FOUND: [
    status.NOT_FOUND,
    "The caller has no such session, or it has ended. Begin a new one.",
  ],
  SESSION_NOT_OWNED: [
    status.FAILED_PRECONDITION,
    "The session has no owner, so it cannot be resumed later. Bind it to the caller first.",
  ],
  SESSION_TOO_LONG: [
    status.FAILED_PRECONDITION,
    "The session would outlive its anchor. Shorten the session's absolute lifetime.",
  ],
  IDEMPOTENCY_KEY_INVALID: [
    status.INVALID_ARGUMENT,
    "The metadata key `idempotency-key` must have a value of 1 to 255 visible ASCII characters.",
  ],
  IDEMPOTENCY_KEY_REUSED: [
    status.FAILED_PRECONDITION,
    "The idempotency key was already used with another request. Send a new key with each new request.",
  ],
  TOO_MANY_SESSIONS_ENDED: [
    status.RESOURCE_EXHAUSTED,
    "The owner has ended too many sessions. Retry when some of them have expired.",
  ],
  WAYBILL_TOO_LARGE: [
    status.RESOURCE_EXHAUSTED,
    "The waybill is too large for its carrier. Store less in the session.",
  ],
  STATE_TOO_LARGE: [
    status.RESOURCE_EXHAUSTED,
    "The new state of the session is too large. Nothing was changed. Store less in the session.",
  ],
  STATE_TOO_DEEP: [
    status.FAILED_PRECONDITION,
    "The new state of the session is nested too deeply. Nothing was changed. Store a flatter state.",
  ],
  SPILL_QUOTA_EXCEEDED: [
    status.RESOURCE_EXHAUSTED,
    "The session's storage quota is used up. Nothing was changed. Store less in the session, or begin a new one.",
  ],
  STATE_SCHEMA_UNSUPPORTED: [
    status.FAILED_PRECONDITION,
    "This replica cannot read the type or revision of the session's state. Retry later, or begin a new session.",
  ],
  STATE_REVISION_PENDING: [
    status.UNAVAILABLE,
    "Not every replica can read the new revision of the session's state yet. Retry later.",
  ],
  KEYS_UNAVAILABLE: [status.UNAVAILABLE, "The keys are unavailable. Retry later."],
  PAGE_TOKEN_INVALID: [
    status.INVALID_ARGUMENT,
    "The page token has expired or belongs to another request. Send the request without a page token.",
  ],
  REQUEST_TOO_LARGE: [
    status.RESOURCE_EXHAUSTED,
    "The request is larger than the method accepts. Send a smaller one.",
  ],
  INVALID_FIELD: [
    status.INVALID_ARGUMENT,
    "A field of the request is invalid. Correct the fields in the error details.",
  ],
  METADATA_DUPLICATED: [
    status.INVALID_ARGUMENT,
    "A metadata key was sent more than once. Send one value.",
  ],
  METADATA_INVALID: [
    status.INVALID_ARGUMENT,
    "A metadata value is not printable ASCII. Send printable ASCII, or use a key that ends in `-bin`.",
  ],
  METADATA_TOO_LARGE: [
    status.RESOURCE_EXHAUSTED,
    "The request's metadata is too large or has too many keys. Send less metadata.",
  ],
  ACCESS_DENIED: [status.PERMISSION_DENIED, "The caller is not allowed to call this method."],
  CREDENTIAL_INVALID: [
    status.UNAUTHENTICATED,
    "This method requires a valid credential in the metadata key `authorization`.",
  ],
  REVOCATIONS_STALE: [
    status.UNAVAILABLE,
    "The replica's list of revocations is stale. Retry later.",
  ],
  DATABASE_UNAVAILABLE: [status.UNAVAILABLE, "The database is unavailable. Retry later."],
  SESSIONS_UNAVAILABLE: [status.UNAVAILABLE, "The session service is unavailable. Retry later."],
  CONFLICT: [status.ABORTED, "The call conflicted with a concurrent call. Retry it."],
  OVERLOADED: [
    status.RESOURCE_EXHAUSTED,
    "The replica is at its limit of concurrent calls. Retry later.",
  ],
  INTERNAL: [status.INTERNAL, "The call failed because of an error in the service."],
});
