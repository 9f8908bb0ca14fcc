import type { Checkout, SetAddressRequest } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import type { Context } from "#shared/grpc/handlers.ts";
import { beginChange } from "./basket.ts";
import { toCheckout } from "./view.ts";

export async function setAddress(
  { address }: SetAddressRequest,
  { session: { state } }: Context<CheckoutState>,
): Promise<Checkout> {
  beginChange(state);
  state.address = address;
  return toCheckout(state);
}
