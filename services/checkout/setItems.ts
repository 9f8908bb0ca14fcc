import type { SetItemsRequest, SetItemsResponse } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import type { Context } from "#shared/contract/handlers.ts";
import type { CheckoutParts } from "./parts.ts";
import { setItem } from "./setItem.ts";

export const setItems = ({ catalog }: CheckoutParts) =>
  async function* (
    { items }: SetItemsRequest,
    context: Context<CheckoutState>,
  ): AsyncGenerator<SetItemsResponse> {
    for (const item of items) {
      if (!(await setItem(item, catalog, context))) continue;
      yield await context.advance({ item, waybill: undefined });
    }
  };
