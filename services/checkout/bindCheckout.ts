import type { Context } from "waybill";
import type { BindCheckoutRequest, Checkout } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { CheckoutErrors } from "./errors.ts";
import { toCheckout } from "./view.ts";

/** Continues an anonymous checkout as the caller's, in a new session. */
export async function bindCheckout(
  _request: BindCheckoutRequest,
  { session: { state } }: Context<CheckoutState>,
): Promise<Checkout> {
  // The order's key is the old session's id: under a new session it could be placed twice.
  if (state.order !== "") throw CheckoutErrors.CHECKOUT_PLACED();
  return toCheckout(state);
}
