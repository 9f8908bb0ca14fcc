import { status } from "@grpc/grpc-js";
import { vocabulary } from "waybill";

export const CheckoutErrors = vocabulary("checkout.waybill", {
  PRODUCT_NOT_FOUND: [status.NOT_FOUND, "The product does not exist in the catalog."],
  CATALOG_UNAVAILABLE: [status.UNAVAILABLE, "The catalog is unavailable. Retry."],
  ITEM_NOT_FOUND: [status.NOT_FOUND, "The product is not in the basket. Add it first."],
  TOO_MANY_ITEMS: [
    status.FAILED_PRECONDITION,
    "The basket accepts no more. The metadata names the limit.",
  ],
  CHECKOUT_PLACED: [
    status.FAILED_PRECONDITION,
    "The order was placed, so the checkout cannot change. Begin a new one.",
  ],
  ORDER_EMPTY: [status.FAILED_PRECONDITION, "The basket is empty. Add an item first."],
  ADDRESS_MISSING: [
    status.FAILED_PRECONDITION,
    "The checkout has no address. Call SetAddress first.",
  ],
  DELIVERY_MISSING: [
    status.FAILED_PRECONDITION,
    "The checkout has no delivery option. Call ChooseDelivery first.",
  ],
  QUOTE_MISSING: [
    status.FAILED_PRECONDITION,
    "The checkout has no quote, or has changed since. Call QuoteCheckout first.",
  ],
  STOCK_TOO_SMALL: [
    status.FAILED_PRECONDITION,
    "The stock is too small for this order. Reduce the products named in the metadata.",
  ],
  ORDER_NOT_FOUND: [status.NOT_FOUND, "The owner of this checkout has no such order."],
});
