import type { ServiceError } from "@grpc/grpc-js";
import { refusedValue } from "#shared/auth/passedOn.ts";
import { readError } from "#shared/errors.ts";
import { TokenErrors } from "../errors.ts";

/**
 * Waits for a response of the identity service. Two of its refusals are passed on to the caller: there were too
 * many attempts, or a value is not valid. Any other failure there is not the caller's fault.
 *
 * @throws StatusError TOO_MANY_ATTEMPTS, INVALID_FIELD, IDENTITY_UNAVAILABLE
 */
export async function askIdentity<Answer>(call: Promise<Answer>): Promise<Answer> {
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
