import { type Context, cutPage, pageSize } from "waybill";
import { during } from "waybill/postgres";
import type { ListOrdersRequest, ListOrdersResponse } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import type { CheckoutDependencies } from "../index.ts";
import { listOrders as list, type Position } from "../sql/listOrders.ts";
import { toOrder } from "../view.ts";

/** Lists the orders of the checkout's owner, newest first. */
export const listOrders =
  ({ db, cursors }: CheckoutDependencies) =>
  async (
    { pageToken, pageSize: asked }: ListOrdersRequest,
    context: Context<CheckoutState>,
  ): Promise<ListOrdersResponse> => {
    const { method } = context;
    const { subject } = context.session;
    // Binds page tokens to the owner, so that another subject cannot use them.
    const question = Buffer.from(subject);
    const after = pageToken ? decode(await cursors.open(method, question, pageToken)) : undefined;
    const size = pageSize(asked);
    const rows = await list(during(db, context), subject, after, size + 1);
    const { page, last } = cutPage(rows, size);
    return {
      orders: page.map(toOrder),
      nextPageToken: last
        ? cursors.seal(method, question, encode({ createdAt: last.position, id: last.id }))
        : "",
    };
  };

function encode(position: Position): Buffer {
  return Buffer.from(JSON.stringify(position));
}

function decode(position: Uint8Array): Position {
  return JSON.parse(Buffer.from(position).toString("utf8")) as Position;
}
