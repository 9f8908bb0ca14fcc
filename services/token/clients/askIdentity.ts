import type { ServiceError } from "@grpc/grpc-js";
import { readError, refusedValue } from "waybill";
import { TokenErrors } from "../errors.ts";

/**
 * Waits for a response of the identity service. Passes two of its errors on to the caller:
 * TOO_MANY_ATTEMPTS and INVALID_FIELD. Every other error becomes IDENTITY_UNAVAILABLE.
 *
 * @throws StatusError TOO_MANY_ATTEMPTS, INVALID_FIELD, IDENTITY_UNAVAILABLE
 */
export async function askIdentity<Response>(call: Promise<Response>): Promise<Response> {
  try {
    return await call;
  } catch (cause) {
    const refused = refusedValue(cause);
    if (refused !== undefined) throw refused;
    const { reason, retryAfterMs = 1000 } = readError(cause as ServiceError);
    if (reason === "TOO_MANY_ATTEMPTS")
      throw TokenErrors.TOO_MANY_ATTEMPTS({ cause, retryAfterMs });
    throw TokenErrors.IDENTITY_UNAVAILABLE({ cause, retryAfterMs });
  }
}
