import type { Context } from "waybill";
import type { ItemQuantity } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { askCatalog } from "../askCatalog.ts";
import { CheckoutErrors } from "../errors.ts";
import type { CheckoutDependencies } from "../index.ts";
import { beginChange, checkQuantity, MAX_LINES, quantityOf } from "./basket.ts";

/** Longest carried title in characters, so that a full basket fits into a waybill. */
const MAX_TITLE = 40;

/**
 * Sets the quantity of a product. A new item gets title and price from the catalog.
 *
 * @throws StatusError TOO_MANY_ITEMS, PRODUCT_NOT_FOUND, CATALOG_UNAVAILABLE
 */
export async function putItem(
  name: string,
  quantity: number,
  catalog: CheckoutDependencies["catalog"],
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
  // This response may be stale: QuoteCheckout fetches current prices.
  const product = await askCatalog(catalog.getProduct({ name }, { context }));
  state.items.push({
    product: name,
    title: [...product.title].slice(0, MAX_TITLE).join(""),
    unitPrice: product.price,
    quantity,
  });
}

/**
 * Sets the quantity of a product. 0 removes it.
 *
 * @returns whether the basket changed
 * @throws StatusError CHECKOUT_PLACED, INVALID_FIELD, and as `putItem`
 */
export async function setItem(
  { product, quantity }: ItemQuantity,
  catalog: CheckoutDependencies["catalog"],
  context: Context<CheckoutState>,
): Promise<boolean> {
  const { state } = context.session;
  if (quantity !== 0) checkQuantity(product, quantity);
  if (quantityOf(state, product) === quantity) return false;
  beginChange(state);
  if (quantity !== 0) await putItem(product, quantity, catalog, context);
  else state.items = state.items.filter((item) => item.product !== product);
  return true;
}
