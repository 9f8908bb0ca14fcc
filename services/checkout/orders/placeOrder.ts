import type { Context, Session } from "waybill";
import type { Db } from "waybill/postgres";
import type { Order, PlaceOrderRequest } from "#proto/waybill/checkout/v1/checkout.ts";
import { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { CheckoutErrors } from "../errors.ts";
import { insertOrder } from "../sql/insertOrder.ts";
import { type OrderRow, readOrder } from "../sql/readOrder.ts";
import { takeStock } from "../sql/takeStock.ts";
import { toOrder } from "../view.ts";

/**
 * Places the quoted order. The order, its stock and the session's advance commit in one transaction, and the
 * order's key is the session's id, so a checkout places at most one order.
 */
export async function placeOrder(
  _request: PlaceOrderRequest,
  context: Context<CheckoutState>,
): Promise<Order> {
  const { session } = context;
  const { state } = session;
  if (state.items.length === 0) throw CheckoutErrors.ORDER_EMPTY();
  if (state.quote === undefined) throw CheckoutErrors.QUOTE_MISSING();
  const tx = await context.transaction();
  const order = state.order === "" ? await place(tx, session) : await placed(tx, session);
  state.order = `orders/${order.id}`;
  return toOrder(order);
}

async function place(tx: Db, { id, subject, state }: Session<CheckoutState>): Promise<OrderRow> {
  const content = Buffer.from(CheckoutState.encode(state).finish());
  const lines = state.items.map(({ product, quantity }) => ({
    productId: BigInt(product.slice("products/".length)),
    quantity,
  }));
  const order = await insertOrder(tx, { id, subject, content });
  const served = await takeStock(tx, lines);
  const short = state.items.filter((_item, at) => !served.has(lines[at]!.productId));
  if (short.length === 0) return order;
  const products = short.map(({ product }) => product).join(", ");
  throw CheckoutErrors.STOCK_TOO_SMALL({ metadata: { products } });
}

async function placed(tx: Db, { id, subject }: Session<CheckoutState>): Promise<OrderRow> {
  const order = await readOrder(tx, id, subject);
  if (order === undefined)
    throw new Error(`order ${id} is missing, although the session's state names it`);
  return order;
}
