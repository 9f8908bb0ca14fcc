import type { ItemQuantity } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import type { Context } from "#shared/contract/handlers.ts";
import { beginChange, checkQuantity, quantityOf } from "./basket.ts";
import type { CheckoutParts } from "./parts.ts";
import { putItem } from "./putItem.ts";

/**
 * Has so many of a product in the basket, or none of it.
 *
 * @returns false when it was so already
 * @throws StatusError CHECKOUT_PLACED, INVALID_FIELD, and as `putItem`
 */
export async function setItem(
  { product, quantity }: ItemQuantity,
  catalog: CheckoutParts["catalog"],
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
