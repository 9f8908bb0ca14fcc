import { status } from "@grpc/grpc-js";
import { vocabulary } from "waybill";

export const CheckoutErrors = vocabulary("checkout.waybill", {
  PRODUCT_NOT_FOUND: [status.NOT_FOUND, "There is no such product in the catalog."],
  CATALOG_UNAVAILABLE: [status.UNAVAILABLE, "The catalog does not answer. Try again."],
  ITEM_NOT_FOUND: [status.NOT_FOUND, "The product is not in the basket."],
  TOO_MANY_ITEMS: [status.FAILED_PRECONDITION, "The basket holds no more of that."],
  CHECKOUT_PLACED: [
    status.FAILED_PRECONDITION,
    "The order has been placed, so the checkout can't be changed. Begin a new one.",
  ],
  ORDER_EMPTY: [status.FAILED_PRECONDITION, "The basket is empty. Add an item first."],
  ADDRESS_MISSING: [status.FAILED_PRECONDITION, "There is no address yet. Set one first."],
  DELIVERY_MISSING: [status.FAILED_PRECONDITION, "No way of delivery is chosen yet."],
  QUOTE_MISSING: [
    status.FAILED_PRECONDITION,
    "The checkout has changed since it was quoted, or was never quoted. Call QuoteCheckout first.",
  ],
  STOCK_TOO_SMALL: [status.FAILED_PRECONDITION, "The stock is too small for this order."],
  ORDER_NOT_FOUND: [status.NOT_FOUND, "The owner of this checkout has no such order."],
});
