import type { Checkout, QuoteCheckoutRequest } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import type { Context } from "#shared/grpc/handlers.ts";
import { beginChange } from "./basket.ts";
import { deliveryOptions } from "./delivery.ts";
import { CheckoutErrors } from "./errors.ts";
import { add, dollars, multiply } from "./money.ts";
import { toCheckout } from "./view.ts";

export async function quoteCheckout(
  _request: QuoteCheckoutRequest,
  { session: { state } }: Context<CheckoutState>,
): Promise<Checkout> {
  const { items, address, deliverySpeed } = state;
  if (items.length === 0) throw CheckoutErrors.ORDER_EMPTY();
  if (address === undefined) throw CheckoutErrors.ADDRESS_MISSING();
  const delivery = deliveryOptions(items, address.regionCode).find(
    (option) => option.deliverySpeed === deliverySpeed,
  )?.price;
  if (delivery === undefined) throw CheckoutErrors.DELIVERY_MISSING();
  beginChange(state);
  const itemsTotal = items
    .map(({ unitPrice, quantity }) => multiply(unitPrice!, quantity))
    .reduce(add, dollars(0));
  state.quote = { itemsTotal, delivery, total: add(itemsTotal, delivery) };
  return toCheckout(state);
}
