import type { Context } from "waybill";
import type { Checkout, GetCheckoutRequest } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { toCheckout } from "./view.ts";

/** Reads the checkout. */
export async function getCheckout(
  _request: GetCheckoutRequest,
  { session: { state } }: Context<CheckoutState>,
): Promise<Checkout> {
  return toCheckout(state);
}
