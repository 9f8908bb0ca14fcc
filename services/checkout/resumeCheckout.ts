import type { Context } from "waybill";
import type { Checkout, ResumeCheckoutRequest } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { toCheckout } from "./view.ts";

/** Resumes one of the caller's checkouts without its waybill. */
export async function resumeCheckout(
  _request: ResumeCheckoutRequest,
  { session: { state } }: Context<CheckoutState>,
): Promise<Checkout> {
  return toCheckout(state);
}
