import type { EndCheckoutResponse } from "#proto/waybill/checkout/v1/checkout.ts";

export async function endCheckout(): Promise<EndCheckoutResponse> {
  return {};
}
