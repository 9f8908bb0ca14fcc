import type { EditItemsRequest, EditItemsResponse } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import type { Context } from "#shared/contract/handlers.ts";
import type { CheckoutParts } from "./parts.ts";
import { setItem } from "./setItem.ts";
import { toCheckout } from "./view.ts";

export const editItems = ({ catalog }: CheckoutParts) =>
  async function* (
    requests: AsyncIterable<EditItemsRequest>,
    context: Context<CheckoutState>,
  ): AsyncGenerator<EditItemsResponse> {
    for await (const { item } of requests) {
      const hasChanged = await setItem(item!, catalog, context);
      const response = { checkout: toCheckout(context.session.state), waybill: undefined };
      yield hasChanged ? await context.advance(response) : response;
    }
  };
