import { Metadata, type ServiceError, type StatusObject, status } from "@grpc/grpc-js";
import type { Any } from "../proto/gen/google/protobuf/any.ts";
import { BadRequest, ErrorInfo, RetryInfo } from "../proto/gen/google/rpc/error_details.ts";
import { Status } from "../proto/gen/google/rpc/status.ts";

/** Most violations that an error names. */
export const MAX_VIOLATIONS = 16;

// A refusal adds less than 4 KiB to the headers of a response: clients take 8 KiB in all, and a proxy
// may end the connection of everyone over a header that it holds too large. The status is base64, and its
// message is sent once more, percent-encoded.
const MAX_STATUS_BYTES = 2200;
const MAX_MESSAGE_BYTES = 300;
/** Longest field path, description, and key or value of `metadata`, in bytes. */
const MAX_TEXT_BYTES = 256;
/** Most entries of `metadata`. */
const MAX_METADATA = 16;

/** What one occurrence of an error adds to its reason. */
export interface ErrorDetails {
  /** Why it happened. Goes to the log, never to the caller. */
  cause?: unknown;
  /** It speaks of an attack or of damage: it is logged as a warning, not as a refusal like others. */
  alarm?: boolean;
  /** What it was about, for the caller: ErrorInfo.metadata (AIP-193). */
  metadata?: Record<string, string>;
  /** The request's fields at fault, by their proto path, for INVALID_ARGUMENT. */
  violations?: { field: string; description: string }[];
  /** How long the caller should wait before it asks again, in milliseconds (google.rpc.RetryInfo). */
  retryAfterMs?: number;
}

/**
 * The only error a handler throws on purpose. Anything else is answered as `INTERNAL`.
 * It reaches the caller as google.rpc.Status in `grpc-status-details-bin`, with an ErrorInfo.
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
   * The status as grpc-js sends it. All of it takes less than 4 KiB of headers: longer texts are cut, and
   * of too many violations and entries of `metadata` the first are sent.
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

/** A text of at most so many bytes in UTF-8, well-formed; one that was longer ends with an ellipsis. */
function cut(text: string, maxBytes: number): string {
  // Three bytes at most for each UTF-16 code unit.
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

/** A function for each reason of a vocabulary, that makes its error. */
export type Vocabulary<Reason extends string> = {
  readonly [R in Reason]: (details?: ErrorDetails) => StatusError;
};

/**
 * A closed set of errors.
 *
 * @param domain ErrorInfo.domain of all of them
 * @param reasons for each reason its status code and its one public message
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

/** What a client can read out of a failed call. */
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
 * Reads the details of an error that a call was answered with. Details that are absent, or are none
 * that can be read, read as empty.
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
    // Whoever answered wrote something else there; the code and the message stand.
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

/** Waybill's own errors. The reason is the contract; the message is for people. */
export const Errors = vocabulary("waybill", {
  WAYBILL_MISSING: [
    status.UNAUTHENTICATED,
    "This method needs a waybill: send the newest one in the metadata key `waybill`.",
  ],
  WAYBILL_INVALID: [status.UNAUTHENTICATED, "The waybill is not valid here. Begin a new session."],
  WAYBILL_EXPIRED: [status.UNAUTHENTICATED, "The waybill has expired. Begin a new session."],
  WAYBILL_REVOKED: [
    status.UNAUTHENTICATED,
    "The session has been ended, by its owner or for him, or its waybill was withdrawn. Resume it where its service can, or begin a new one.",
  ],
  WAYBILL_STALE: [status.ABORTED, "A newer version of the session exists. Go on from its waybill."],
  WAYBILL_ENDED: [status.UNAUTHENTICATED, "The session has ended. Begin a new one."],
  SESSION_NOT_FOUND: [status.NOT_FOUND, "The caller has no such session, or has it no more."],
  SESSION_NOT_OWNED: [
    status.FAILED_PRECONDITION,
    "The session belongs to nobody, so nobody could resume it. Bind it to the caller first.",
  ],
  SESSION_TOO_LONG: [
    status.FAILED_PRECONDITION,
    "The session would live longer than its anchor is kept where it is to stand.",
  ],
  IDEMPOTENCY_KEY_INVALID: [
    status.INVALID_ARGUMENT,
    "The metadata `idempotency-key` must have 1 to 255 visible ASCII characters.",
  ],
  IDEMPOTENCY_KEY_REUSED: [
    status.FAILED_PRECONDITION,
    "The idempotency key was sent with another request before. Make a new one for each call.",
  ],
  TOO_MANY_SESSIONS_ENDED: [
    status.RESOURCE_EXHAUSTED,
    "The owner has ended too many sessions. Wait until some of them would have expired.",
  ],
  WAYBILL_TOO_LARGE: [
    status.RESOURCE_EXHAUSTED,
    "The session's state is too large to be carried in the metadata.",
  ],
  STATE_TOO_LARGE: [
    status.RESOURCE_EXHAUSTED,
    "The session's state would be larger than a session may keep. Nothing was changed.",
  ],
  STATE_TOO_DEEP: [
    status.FAILED_PRECONDITION,
    "The session's state would be nested more deeply than it can be read again. Nothing was changed.",
  ],
  SPILL_QUOTA_EXCEEDED: [
    status.RESOURCE_EXHAUSTED,
    "The session has kept as much as it may. Nothing was changed: make its state smaller, or begin a new session.",
  ],
  STATE_SCHEMA_UNSUPPORTED: [
    status.FAILED_PRECONDITION,
    "The session's state is of a type or revision that this replica does not read.",
  ],
  STATE_REVISION_PENDING: [
    status.UNAVAILABLE,
    "The session's state would be of a revision that not every replica reads yet. Try again.",
  ],
  KEYS_UNAVAILABLE: [status.UNAVAILABLE, "The keys are not available at the moment. Try again."],
  PAGE_TOKEN_INVALID: [
    status.INVALID_ARGUMENT,
    "The page token does not belong to this request. Start again without one.",
  ],
  REQUEST_TOO_LARGE: [
    status.RESOURCE_EXHAUSTED,
    "The request is larger than the method takes. Send a smaller one.",
  ],
  INVALID_FIELD: [status.INVALID_ARGUMENT, "A field of the request is not valid."],
  METADATA_DUPLICATED: [
    status.INVALID_ARGUMENT,
    "A metadata key that may be sent once was sent more than once.",
  ],
  METADATA_INVALID: [
    status.INVALID_ARGUMENT,
    "A metadata value is not printable ASCII. Send only such characters, or a key that ends in `-bin`.",
  ],
  METADATA_TOO_LARGE: [
    status.RESOURCE_EXHAUSTED,
    "The request's metadata is too large or has too many keys. Send less metadata.",
  ],
  ACCESS_DENIED: [status.PERMISSION_DENIED, "The caller may not call this method."],
  CREDENTIAL_INVALID: [
    status.UNAUTHENTICATED,
    "This method needs a valid credential in the metadata key `authorization`.",
  ],
  REVOCATIONS_STALE: [
    status.UNAVAILABLE,
    "What was revoked is not known here at the moment. Try again.",
  ],
  DATABASE_UNAVAILABLE: [
    status.UNAVAILABLE,
    "The database is not available at the moment. Try again.",
  ],
  SESSIONS_UNAVAILABLE: [
    status.UNAVAILABLE,
    "The session service is not available at the moment. Try again.",
  ],
  CONFLICT: [status.ABORTED, "The call met another one. Try again."],
  OVERLOADED: [
    status.RESOURCE_EXHAUSTED,
    "The replica serves as many calls as it can. Try again later.",
  ],
  INTERNAL: [status.INTERNAL, "The call failed for a reason within the service."],
});
