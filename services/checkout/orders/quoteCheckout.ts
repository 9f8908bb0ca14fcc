import { Metadata } from "@grpc/grpc-js";
import type { Context } from "waybill";
import type { Checkout, QuoteCheckoutRequest } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutItem, CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { askCatalog } from "../askCatalog.ts";
import { beginChange, checkQuantity } from "../basket/basket.ts";
import { deliveryOptions } from "../delivery/delivery.ts";
import { CheckoutErrors } from "../errors.ts";
import type { CheckoutDependencies } from "../index.ts";
import { toCheckout } from "../view.ts";
import { add, dollars, multiply } from "./money.ts";

/** Computes the order's total at the catalog's current prices. */
export const quoteCheckout =
  ({ catalog }: Pick<CheckoutDependencies, "catalog">) =>
  async (_request: QuoteCheckoutRequest, context: Context<CheckoutState>): Promise<Checkout> => {
    const { state } = context.session;
    const { items, address, deliverySpeed } = state;
    if (items.length === 0) throw CheckoutErrors.ORDER_EMPTY();
    // A state sealed by an earlier program may contain any quantity.
    for (const { product, quantity } of items) checkQuantity(product, quantity);
    if (address === undefined) throw CheckoutErrors.ADDRESS_MISSING();
    const delivery = deliveryOptions(items, address.regionCode).find(
      (option) => option.deliverySpeed === deliverySpeed,
    )?.price;
    if (delivery === undefined) throw CheckoutErrors.DELIVERY_MISSING();
    beginChange(state);
    await price(items, catalog, context);
    const itemsTotal = items
      .map(({ unitPrice, quantity }) => multiply(unitPrice!, quantity))
      .reduce(add, dollars(0));
    state.quote = { itemsTotal, delivery, total: add(itemsTotal, delivery) };
    return toCheckout(state);
  };

/** Updates the prices of all items from the catalog, past every cache. */
async function price(
  items: CheckoutItem[],
  catalog: CheckoutDependencies["catalog"],
  context: Context<CheckoutState>,
): Promise<void> {
  const metadata = new Metadata();
  metadata.set("cache-control", "no-cache");
  const names = items.map(({ product }) => product);
  const { products } = await askCatalog(catalog.batchGetProducts({ names }, { context, metadata }));
  for (const [at, item] of items.entries()) {
    const { currencyCode, units, nanos } = products[at]!.price!;
    // In place, so that unknown fields of newer programs stay.
    item.unitPrice = Object.assign(item.unitPrice ?? {}, { currencyCode, units, nanos });
  }
}
