import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import type { Context } from "#shared/contract/handlers.ts";
import { askCatalog } from "./askCatalog.ts";
import { checkQuantity, MAX_LINES } from "./basket.ts";
import { CheckoutErrors } from "./errors.ts";
import type { CheckoutParts } from "./parts.ts";

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
  // It may be a little old: a quote is not.
  const product = await askCatalog(catalog.getProduct({ name }, { context }));
  state.items.push({
    product: name,
    title: [...product.title].slice(0, MAX_TITLE).join(""),
    unitPrice: product.price,
    quantity,
  });
}
