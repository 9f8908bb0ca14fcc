import type { Context } from "waybill";
import type { Checkout, UploadItemsRequest } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import type { CheckoutDependencies } from "../index.ts";
import { toCheckout } from "../view.ts";
import { addedQuantity, beginChange } from "./basket.ts";
import { putItem } from "./items.ts";

/** Adds every item of the stream, or none. */
export const uploadItems =
  ({ catalog }: CheckoutDependencies) =>
  async (
    requests: AsyncIterable<UploadItemsRequest>,
    context: Context<CheckoutState>,
  ): Promise<Checkout> => {
    const { state } = context.session;
    beginChange(state);
    for await (const { product, quantity = 1 } of requests) {
      await putItem(product, addedQuantity(state, product, quantity), catalog, context);
    }
    return toCheckout(state);
  };
