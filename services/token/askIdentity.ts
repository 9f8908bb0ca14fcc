import type { ServiceError } from "@grpc/grpc-js";
import { readError } from "#shared/errors/errors.ts";
import { TokenErrors } from "./errors.ts";

/**
 * Waits for an answer of the identity service. That it has had too many attempts is the caller's to
 * know; anything else that goes wrong there is no fault of his.
 *
 * @throws StatusError TOO_MANY_ATTEMPTS, IDENTITY_UNAVAILABLE
 */
export async function askIdentity<Answer>(call: Promise<Answer>): Promise<Answer> {
  try {
    return await call;
  } catch (cause) {
    const { reason, retryAfterMs = 1000 } = readError(cause as ServiceError);
    if (reason === "TOO_MANY_ATTEMPTS")
      throw TokenErrors.TOO_MANY_ATTEMPTS({ cause, retryAfterMs });
    throw TokenErrors.IDENTITY_UNAVAILABLE({ cause, retryAfterMs });
  }
}
