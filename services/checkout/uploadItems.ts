import type { Checkout, UploadItemsRequest } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import type { Context } from "#shared/contract/handlers.ts";
import { addedQuantity, beginChange } from "./basket.ts";
import type { CheckoutParts } from "./parts.ts";
import { putItem } from "./putItem.ts";
import { toCheckout } from "./view.ts";

export const uploadItems =
  ({ catalog }: CheckoutParts) =>
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
