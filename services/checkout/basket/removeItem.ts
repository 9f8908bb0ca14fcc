import type { Context } from "waybill";
import type { Checkout, RemoveItemRequest } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { toCheckout } from "../view.ts";
import { beginChange, itemOf } from "./basket.ts";

/** Removes a product from the basket. */
export async function removeItem(
  { product }: RemoveItemRequest,
  { session: { state } }: Context<CheckoutState>,
): Promise<Checkout> {
  beginChange(state);
  const item = itemOf(state, product);
  state.items = state.items.filter((other) => other !== item);
  return toCheckout(state);
}
