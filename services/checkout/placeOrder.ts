import { createHash } from "node:crypto";
import type { Order, PlaceOrderRequest } from "#proto/waybill/checkout/v1/checkout.ts";
import { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import type { Context } from "#shared/grpc/handlers.ts";
import { transaction } from "#shared/pg/transaction.ts";
import { CheckoutErrors } from "./errors.ts";
import type { CheckoutParts } from "./parts.ts";
import { insertOrder } from "./sql/insertOrder.ts";
import { type OrderRow, readOrder } from "./sql/readOrder.ts";
import { readShort } from "./sql/readShort.ts";
import { takeStock } from "./sql/takeStock.ts";
import { toOrder } from "./view.ts";

/**
 * The order's key is the session's id, so of any number of calls, retried or at once, one inserts it
 * and takes the stock, in one transaction; the others find it.
 */
export const placeOrder =
  ({ db }: CheckoutParts) =>
  async (_request: PlaceOrderRequest, { session }: Context<CheckoutState>): Promise<Order> => {
    const { state } = session;
    if (state.items.length === 0) throw CheckoutErrors.ORDER_EMPTY();
    if (state.quote === undefined) throw CheckoutErrors.QUOTE_MISSING();
    const order = toRow(session.id, session.subject, state);
    const placed = (await place(db, order)) ?? (await found(db, order));
    state.order = `orders/${placed.id}`;
    return toOrder(placed);
  };

function toRow(id: string, subject: string, state: CheckoutState): Omit<OrderRow, "createdAt"> {
  const content = Buffer.from(CheckoutState.encode({ ...state, order: "" }).finish());
  return { id, subject, content, digest: createHash("sha256").update(content).digest() };
}

function place(
  db: CheckoutParts["db"],
  order: Omit<OrderRow, "createdAt">,
): Promise<OrderRow | undefined> {
  const lines = CheckoutState.decode(order.content).items.map(({ product, quantity }) => ({
    productId: BigInt(product.slice("products/".length)),
    quantity,
  }));
  return transaction(db, async (tx) => {
    const inserted = await insertOrder(tx, order);
    if (inserted !== undefined && (await takeStock(tx, lines)) !== lines.length) {
      const short = await readShort(tx, lines);
      const products = short.map((id) => `products/${id}`).join(", ");
      throw CheckoutErrors.STOCK_TOO_SMALL({ metadata: { products } });
    }
    return inserted;
  });
}

async function found(
  db: CheckoutParts["db"],
  order: Omit<OrderRow, "createdAt">,
): Promise<OrderRow> {
  const existing = await readOrder(db, order.id, order.subject);
  if (existing === undefined) throw new Error(`order ${order.id} is of another subject`);
  if (existing.digest.equals(order.digest)) return existing;
  throw CheckoutErrors.ORDER_ALREADY_PLACED({ metadata: { order: `orders/${order.id}` } });
}
