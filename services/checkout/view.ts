import type { Checkout, Order } from "#proto/waybill/checkout/v1/checkout.ts";
import { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import type { OrderRow } from "./sql/readOrder.ts";

/** Returns the client's view of a checkout. */
export function toCheckout(state: CheckoutState): Checkout {
  const { items, address, deliverySpeed, quote, order } = state;
  return { items, address, deliverySpeed, quote, order };
}

/** Returns the client's view of an order. */
export function toOrder(row: OrderRow): Order {
  const { items, address, deliverySpeed, quote } = CheckoutState.decode(row.content);
  return {
    name: `orders/${row.id}`,
    items,
    address,
    deliverySpeed,
    quote,
    createTime: row.createdAt,
  };
}
