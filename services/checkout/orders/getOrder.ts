import type { Context } from "waybill";
import { during } from "waybill/postgres";
import type { GetOrderRequest, Order } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { CheckoutErrors } from "../errors.ts";
import type { CheckoutDependencies } from "../index.ts";
import { readOrder } from "../sql/readOrder.ts";
import { toOrder } from "../view.ts";

/** Reads an order of the checkout's owner. */
export const getOrder =
  ({ db }: CheckoutDependencies) =>
  async ({ name }: GetOrderRequest, context: Context<CheckoutState>): Promise<Order> => {
    const row = await readOrder(
      during(db, context),
      name.slice("orders/".length),
      context.session.subject,
    );
    // Another owner's order looks like none at all.
    if (row === undefined) throw CheckoutErrors.ORDER_NOT_FOUND({ metadata: { order: name } });
    return toOrder(row);
  };
