import { createHash, randomUUID } from "node:crypto";
import type { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { createPool, type Pool } from "#shared/pg/pool.ts";
import type { Session } from "#shared/waybill/sessions.ts";
import type { CheckoutParts } from "../../services/checkout/parts.ts";
import { placeOrder } from "../../services/checkout/placeOrder.ts";
import { insertOrder } from "../../services/checkout/sql/insertOrder.ts";
import { connect, untilBlocked } from "../fixtures/gate.ts";
import { migratedPostgres, type TestPostgres } from "../fixtures/postgres.ts";

let postgres: TestPostgres;
let pool: Pool;
let [gate, watcher]: Client[] = [];
beforeAll(async () => {
  postgres = await migratedPostgres();
  pool = createPool(postgres.url, { max: 5, name: "race" });
  [gate, watcher] = await Promise.all([connect(postgres.url), connect(postgres.url)]);
});
afterAll(async () => {
  await Promise.all([gate?.end(), watcher?.end(), pool?.end()]);
  await postgres?.remove();
});

const money = { currencyCode: "USD", units: 1n, nanos: 0 };
const state = () =>
  CheckoutState.create({
    items: [{ product: "products/7", title: "a film", unitPrice: money, quantity: 2 }],
    quote: { itemsTotal: money, delivery: money, total: money },
  });

/** Asks for an order as PlaceOrder does, with a session's waybill. */
const place = (id: string, carried = state()) => {
  const session = { id, subject: "anonymous/a", state: carried } as Session<CheckoutState>;
  return placeOrder({ db: pool } as CheckoutParts)({}, { session } as never);
};

const orders = async (id: string) =>
  (await watcher!.query('SELECT FROM checkout."order" WHERE id = $1', [id])).rowCount;

test("the anomaly: who looks for the order and then inserts it places two", async () => {
  await gate!.query("CREATE TEMP TABLE unguarded (id uuid)");
  const id = randomUUID();
  const look = async () =>
    (await gate!.query("SELECT FROM unguarded WHERE id = $1", [id])).rowCount;
  const insert = () => gate!.query("INSERT INTO unguarded VALUES ($1)", [id]);
  // Both have looked before either inserts.
  const [seenByA, seenByB] = [await look(), await look()];
  if (seenByA === 0) await insert();
  if (seenByB === 0) await insert();
  expect(await look()).toBe(2);
});

test("two that ask at once get one order, and one of them takes the stock", async () => {
  const id = randomUUID();
  // Neither gets past the stock while the gate holds the product's row.
  await gate!.query("INSERT INTO checkout.stock VALUES (7, 100) ON CONFLICT DO NOTHING");
  await gate!.query("BEGIN");
  await gate!.query("SELECT FROM checkout.stock WHERE product_id = 7 FOR UPDATE");
  const both = [place(id), place(id)];
  // The first waits for the gate, the second for the first.
  await untilBlocked(watcher!, 2);
  await gate!.query("COMMIT");
  const [first, second] = await Promise.all(both);
  expect(first).toEqual(second);
  expect(await orders(id)).toBe(1);
  const { rows } = await watcher!.query("SELECT available FROM checkout.stock");
  expect(rows).toEqual([{ available: 98 }]);
});

test("one that waits for an order that is rolled back places it itself", async () => {
  const id = randomUUID();
  const content = Buffer.from(CheckoutState.encode(state()).finish());
  const digest = createHash("sha256").update(content).digest();
  await gate!.query("BEGIN");
  await insertOrder(gate!, { id, subject: "anonymous/a", content, digest });
  const placed = place(id);
  await untilBlocked(watcher!, 1);
  await gate!.query("ROLLBACK");
  expect((await placed).name).toBe(`orders/${id}`);
  expect(await orders(id)).toBe(1);
});

test("one that waits for another order of the same checkout is refused", async () => {
  const id = randomUUID();
  const other = state();
  other.items[0]!.quantity = 3;
  const content = Buffer.from(CheckoutState.encode(other).finish());
  const digest = createHash("sha256").update(content).digest();
  await gate!.query("BEGIN");
  await insertOrder(gate!, { id, subject: "anonymous/a", content, digest });
  const placed = place(id);
  await untilBlocked(watcher!, 1);
  await gate!.query("COMMIT");
  await expect(placed).rejects.toMatchObject({ reason: "ORDER_ALREADY_PLACED" });
});
