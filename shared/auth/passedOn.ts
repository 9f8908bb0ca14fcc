import type { ServiceError } from "@grpc/grpc-js";
import { Errors, readError, type StatusError } from "../errors.ts";

/**
 * The refusal of a value that a caller has sent and that was passed on to another service, for the caller.
 * Without it, the other service's INVALID_FIELD would be a fault of the service that asked.
 *
 * @param error that the call to the other service has failed with
 * @returns undefined when it failed for another reason
 */
export function refusedValue(error: unknown): StatusError | undefined {
  const { domain, reason } = readError(error as ServiceError);
  if (domain !== "waybill" || reason !== "INVALID_FIELD") return undefined;
  return Errors.INVALID_FIELD({
    cause: "another service refused a value that was passed on to it",
  });
}
