import { type ServiceError, status } from "@grpc/grpc-js";
import { Errors, type StatusError } from "../../errors.ts";

/** What passes, or may have happened: the caller may ask again. */
const PASSING: ReadonlySet<status> = new Set([
  status.UNAVAILABLE,
  status.DEADLINE_EXCEEDED,
  status.RESOURCE_EXHAUSTED,
  status.ABORTED,
  // A connection that broke in the middle of an answer.
  status.INTERNAL,
  status.UNKNOWN,
]);

/** What a call says that could not reach the session service; any other error as it is. */
export function sessionsUnavailable(cause: unknown): StatusError | unknown {
  return PASSING.has((cause as ServiceError).code)
    ? Errors.SESSIONS_UNAVAILABLE({ cause, retryAfterMs: 200 })
    : cause;
}
