import { type ServiceError, status } from "@grpc/grpc-js";
import { Errors, type StatusError } from "../../errors.ts";

/** Codes of calls that may have been served, or succeed on a retry. */
const RETRYABLE: ReadonlySet<status> = new Set([
  status.UNAVAILABLE,
  status.DEADLINE_EXCEEDED,
  status.RESOURCE_EXHAUSTED,
  status.ABORTED,
  // A connection that broke during the response.
  status.INTERNAL,
  status.UNKNOWN,
]);

/** Returns SESSIONS_UNAVAILABLE for an error that a retry can cure; any other error as it is. */
export function sessionsUnavailable(cause: unknown): StatusError | unknown {
  return RETRYABLE.has((cause as ServiceError).code)
    ? Errors.SESSIONS_UNAVAILABLE({ cause, retryAfterMs: 200 })
    : cause;
}
