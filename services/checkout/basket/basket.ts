import { Errors, letGo } from "waybill";
import type { CheckoutItem, CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { CheckoutErrors } from "../errors.ts";

export const MAX_LINES = 30;
export const MAX_QUANTITY = 99;

/**
 * Readies a checkout for a change: whatever was quoted before no longer holds.
 *
 * @throws StatusError CHECKOUT_PLACED
 */
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

/** How many of a product there are. */
export function quantityOf(state: CheckoutState, product: string): number {
  return state.items.find((item) => item.product === product)?.quantity ?? 0;
}

/**
 * Refuses a quantity that no basket holds. The request's constraints say the same: money and stock do not
 * depend on them.
 *
 * @throws StatusError TOO_MANY_ITEMS; INVALID_FIELD when it is not a whole number from 1
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

/** Adds some of a product to the quantity that the basket holds. @throws StatusError as `checkQuantity` */
export function addedQuantity(state: CheckoutState, product: string, added: number): number {
  checkQuantity(product, added);
  return quantityOf(state, product) + added;
}
