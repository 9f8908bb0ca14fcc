import type { Context } from "waybill";
import type { EditItemsRequest, EditItemsResponse } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import type { CheckoutDependencies } from "../index.ts";
import { toCheckout } from "../view.ts";
import { setItem } from "./items.ts";

/** Sets a quantity for each request of the stream, and advances after each change. */
export const editItems = ({ catalog }: CheckoutDependencies) =>
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
