import type { EndCheckoutResponse } from "#proto/waybill/checkout/v1/checkout.ts";

/** Ends the checkout and tells the client to drop its waybill. */
export async function endCheckout(): Promise<EndCheckoutResponse> {
  return {};
}
