import type { Context } from "waybill";
import type { Checkout, UpdateItemRequest } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { toCheckout } from "../view.ts";
import { beginChange, checkQuantity, itemOf } from "./basket.ts";

/** Sets the quantity of a product in the basket. */
export async function updateItem(
  { product, quantity }: UpdateItemRequest,
  { session: { state } }: Context<CheckoutState>,
): Promise<Checkout> {
  beginChange(state);
  checkQuantity(product, quantity);
  itemOf(state, product).quantity = quantity;
  return toCheckout(state);
}
