import type { Context } from "waybill";
import type { BeginCheckoutRequest, Checkout } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { toCheckout } from "./view.ts";

/** Begins a checkout with an empty basket. */
export async function beginCheckout(
  _request: BeginCheckoutRequest,
  { session: { state } }: Context<CheckoutState>,
): Promise<Checkout> {
  return toCheckout(state);
}
