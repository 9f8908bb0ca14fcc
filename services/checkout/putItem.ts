import { type ServiceError, status } from "@grpc/grpc-js";
import type { Product } from "#proto/waybill/catalog/v1/catalog.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import type { Context } from "#shared/grpc/handlers.ts";
import { checkQuantity, MAX_LINES } from "./basket.ts";
import { CheckoutErrors } from "./errors.ts";
import type { CheckoutParts } from "./parts.ts";

const BUSY_OR_AWAY = new Set([
  status.UNAVAILABLE,
  status.DEADLINE_EXCEEDED,
  status.RESOURCE_EXHAUSTED,
]);

/** Longest title that is carried, in characters: a full basket is to fit into a waybill. */
const MAX_TITLE = 40;

/**
 * Has so many of a product in the basket; a new one with title and price as the catalogue has them.
 *
 * @throws StatusError TOO_MANY_ITEMS, PRODUCT_NOT_FOUND, CATALOG_UNAVAILABLE
 */
export async function putItem(
  name: string,
  quantity: number,
  catalog: CheckoutParts["catalog"],
  context: Context<CheckoutState>,
): Promise<void> {
  const { state } = context.session;
  checkQuantity(name, quantity);
  const present = state.items.find((item) => item.product === name);
  if (present !== undefined) {
    present.quantity = quantity;
    return;
  }
  if (state.items.length >= MAX_LINES) {
    throw CheckoutErrors.TOO_MANY_ITEMS({ metadata: { product: name, lines: `${MAX_LINES}` } });
  }
  const product = await ask(catalog, name, context);
  state.items.push({
    product: name,
    title: [...product.title].slice(0, MAX_TITLE).join(""),
    unitPrice: product.price,
    quantity,
  });
}

async function ask(
  catalog: CheckoutParts["catalog"],
  name: string,
  context: Context<CheckoutState>,
): Promise<Product> {
  try {
    return await catalog.getProduct({ name }, { context });
  } catch (cause) {
    const { code } = cause as ServiceError;
    if (code === status.NOT_FOUND) {
      throw CheckoutErrors.PRODUCT_NOT_FOUND({ metadata: { product: name } });
    }
    if (BUSY_OR_AWAY.has(code)) {
      throw CheckoutErrors.CATALOG_UNAVAILABLE({ cause, retryAfterMs: 1000 });
    }
    throw cause;
  }
}
