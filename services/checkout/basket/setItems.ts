import type { Context } from "waybill";
import type { SetItemsRequest, SetItemsResponse } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import type { CheckoutDependencies } from "../index.ts";
import { setItem } from "./items.ts";

/** Sets the quantities of several products, and advances after each change. */
export const setItems = ({ catalog }: CheckoutDependencies) =>
  async function* (
    { items }: SetItemsRequest,
    context: Context<CheckoutState>,
  ): AsyncGenerator<SetItemsResponse> {
    for (const item of items) {
      if (!(await setItem(item, catalog, context))) continue;
      yield await context.advance({ item, waybill: undefined });
    }
  };
