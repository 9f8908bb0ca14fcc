import type { Context } from "waybill";
import type { Checkout, ChooseDeliveryRequest } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { beginChange } from "../basket/basket.ts";
import { toCheckout } from "../view.ts";

/** Chooses the delivery speed. */
export async function chooseDelivery(
  { deliverySpeed }: ChooseDeliveryRequest,
  { session: { state } }: Context<CheckoutState>,
): Promise<Checkout> {
  beginChange(state);
  state.deliverySpeed = deliverySpeed;
  return toCheckout(state);
}
