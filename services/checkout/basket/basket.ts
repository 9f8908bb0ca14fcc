import { Errors, letGo } from "waybill";
import type { CheckoutItem, CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { CheckoutErrors } from "../errors.ts";

export const MAX_LINES = 30;
export const MAX_QUANTITY = 99;

/** Discards the quote before a change of the checkout. @throws StatusError CHECKOUT_PLACED */
export function beginChange(state: CheckoutState): void {
  if (state.order !== "")
    throw CheckoutErrors.CHECKOUT_PLACED({ metadata: { order: state.order } });
  letGo(state.quote);
  state.quote = undefined;
}

/** @throws StatusError ITEM_NOT_FOUND */
export function itemOf(state: CheckoutState, product: string): CheckoutItem {
  const item = state.items.find((candidate) => candidate.product === product);
  if (item === undefined) throw CheckoutErrors.ITEM_NOT_FOUND({ metadata: { product } });
  return item;
}

export function quantityOf(state: CheckoutState, product: string): number {
  return state.items.find((item) => item.product === product)?.quantity ?? 0;
}

/**
 * Refuses an invalid quantity. The request's constraints also do, but money and stock must not depend on them.
 *
 * @throws StatusError TOO_MANY_ITEMS; INVALID_FIELD unless it is a whole number from 1
 */
export function checkQuantity(product: string, quantity: number): void {
  if (!Number.isInteger(quantity) || quantity < 1) {
    const description = `must be a whole number from 1 to ${MAX_QUANTITY}`;
    throw Errors.INVALID_FIELD({ violations: [{ field: "quantity", description }] });
  }
  if (quantity > MAX_QUANTITY) {
    throw CheckoutErrors.TOO_MANY_ITEMS({ metadata: { product, limit: `${MAX_QUANTITY}` } });
  }
}

/** Adds a quantity to the one in the basket. @throws StatusError as `checkQuantity` */
export function addedQuantity(state: CheckoutState, product: string, added: number): number {
  checkQuantity(product, added);
  return quantityOf(state, product) + added;
}
