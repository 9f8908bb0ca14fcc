import type { Client } from "pg";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { takeStock } from "../../services/checkout/sql/takeStock.ts";
import { connect, untilBlocked } from "../support/gate.ts";
import { migratedPostgres, type TestPostgres } from "../support/postgres.ts";

const LINE = [{ productId: 7n, quantity: 3 }];

let postgres: TestPostgres;
let [a, b, watcher]: Client[] = [];
beforeAll(async () => {
  postgres = await migratedPostgres();
  [a, b, watcher] = await Promise.all([1, 2, 3].map(() => connect(postgres.url)));
});
afterAll(async () => {
  await Promise.all([a, b, watcher].map((client) => client?.end()));
  await postgres?.remove();
});
beforeEach(async () => {
  // Enough for one of two, who want three each.
  await a!.query("DELETE FROM checkout.stock; INSERT INTO checkout.stock VALUES (7, 5)");
});

/** The products that could be served. */
const take = async (client: Client, lines: typeof LINE) =>
  [...(await takeStock(client, lines))].map(Number).sort();

const available = async () =>
  (await watcher!.query("SELECT available FROM checkout.stock WHERE product_id = 7")).rows[0]
    .available;

test("the anomaly: who reads and then writes sells six of five", async () => {
  const read = async (client: Client) => {
    await client.query("BEGIN");
    const { rows } = await client.query(
      "SELECT available FROM checkout.stock WHERE product_id = 7",
    );
    return rows[0].available as number;
  };
  const write = async (client: Client, seen: number) => {
    if (seen < 3) return "too small";
    await client.query("UPDATE checkout.stock SET available = $1 WHERE product_id = 7", [seen - 3]);
    await client.query("COMMIT");
    return "sold";
  };
  // Both have read before either writes.
  const [seenByA, seenByB] = [await read(a!), await read(b!)];
  expect([await write(a!, seenByA), await write(b!, seenByB)]).toEqual(["sold", "sold"]);
  expect(await available()).toBe(2);
});

test("in one statement the second waits for the first, and finds too little", async () => {
  await a!.query("BEGIN");
  await b!.query("BEGIN");
  expect(await take(a!, LINE)).toEqual([7]);
  const second = take(b!, LINE);
  await untilBlocked(watcher!, 1);
  await a!.query("COMMIT");
  expect(await second).toEqual([]);
  await b!.query("ROLLBACK");
  expect(await available()).toBe(2);
});

test("when the first gives up, the second gets what it would have had", async () => {
  await a!.query("BEGIN");
  await b!.query("BEGIN");
  expect(await take(a!, LINE)).toEqual([7]);
  const second = take(b!, LINE);
  await untilBlocked(watcher!, 1);
  await a!.query("ROLLBACK");
  expect(await second).toEqual([7]);
  await b!.query("COMMIT");
  expect(await available()).toBe(2);
});

test("two baskets with the same products the other way round wait in line, and never for each other", async () => {
  const lines = [7n, 8n, 9n].map((productId) => ({ productId, quantity: 1 }));
  await watcher!.query("INSERT INTO checkout.stock VALUES (8, 5), (9, 5)");
  const gate = await connect(postgres.url);
  await gate.query("BEGIN; SELECT FROM checkout.stock WHERE product_id = 8 FOR UPDATE");
  // Each gets as far as the product in the middle.
  const both = [take(a!, lines), take(b!, lines.toReversed())];
  await untilBlocked(watcher!, 2);
  await gate.query("COMMIT");
  expect(await Promise.all(both)).toEqual([
    [7, 8, 9],
    [7, 8, 9],
  ]);
  expect(await available()).toBe(3);
  await gate.end();
});

test("V7 a quantity that is not positive is never taken from the stock", async () => {
  const quantities = [-1000, -1, 0, -(2 ** 31)];
  for (const quantity of quantities) {
    // A product with a row of its own, and one that was never ordered.
    for (const productId of [7n, 10n]) {
      expect(await take(a!, [{ productId, quantity }]), `${quantity}`).toEqual([]);
    }
    expect(await take(a!, [...LINE, { productId: 10n, quantity }])).toEqual([7]);
    await a!.query("UPDATE checkout.stock SET available = 5 WHERE product_id = 7");
  }
  const { rows } = await watcher!.query(
    "SELECT product_id FROM checkout.stock WHERE product_id = 10",
  );
  expect(rows).toEqual([]);
  expect(await available()).toBe(5);
  expect(await take(a!, [{ productId: 10n, quantity: 1 }])).toEqual([10]);
  await a!.query("DELETE FROM checkout.stock WHERE product_id = 10");
});
