import type { Context } from "waybill";
import type {
  ListDeliveryOptionsRequest,
  ListDeliveryOptionsResponse,
} from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { CheckoutErrors } from "../errors.ts";
import { deliveryOptions } from "./delivery.ts";

/** Lists the delivery options for the basket and address. */
export async function listDeliveryOptions(
  _request: ListDeliveryOptionsRequest,
  { session: { state } }: Context<CheckoutState>,
): Promise<ListDeliveryOptionsResponse> {
  if (state.items.length === 0) throw CheckoutErrors.ORDER_EMPTY();
  if (state.address === undefined) throw CheckoutErrors.ADDRESS_MISSING();
  return { deliveryOptions: deliveryOptions(state.items, state.address.regionCode) };
}
