import { type ServiceError, status } from "@grpc/grpc-js";
import { readError, refusedValue } from "waybill";
import { CheckoutErrors } from "./errors.ts";

const BUSY_OR_AWAY = new Set([
  status.UNAVAILABLE,
  status.DEADLINE_EXCEEDED,
  status.RESOURCE_EXHAUSTED,
]);

/**
 * Awaits a call to the catalog and translates its errors into errors of checkout.
 *
 * @throws StatusError PRODUCT_NOT_FOUND, INVALID_FIELD, CATALOG_UNAVAILABLE
 */
export async function askCatalog<Answer>(question: Promise<Answer>): Promise<Answer> {
  try {
    return await question;
  } catch (cause) {
    const { code, metadata } = readError(cause as ServiceError);
    if (code === status.NOT_FOUND) throw CheckoutErrors.PRODUCT_NOT_FOUND({ metadata });
    if (BUSY_OR_AWAY.has(code)) {
      throw CheckoutErrors.CATALOG_UNAVAILABLE({ cause, retryAfterMs: 1000 });
    }
    throw refusedValue(cause) ?? cause;
  }
}
