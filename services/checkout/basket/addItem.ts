import type { Context } from "waybill";
import type { AddItemRequest, Checkout } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import type { CheckoutDependencies } from "../index.ts";
import { toCheckout } from "../view.ts";
import { addedQuantity, beginChange } from "./basket.ts";
import { putItem } from "./items.ts";

/** Adds a quantity of a product to the basket. */
export const addItem =
  ({ catalog }: CheckoutDependencies) =>
  async (
    { product, quantity = 1 }: AddItemRequest,
    context: Context<CheckoutState>,
  ): Promise<Checkout> => {
    const { state } = context.session;
    beginChange(state);
    await putItem(product, addedQuantity(state, product, quantity), catalog, context);
    return toCheckout(state);
  };
