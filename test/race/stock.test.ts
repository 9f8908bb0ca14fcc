import type { Client } from "pg";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { takeStock } from "../../services/checkout/sql/takeStock.ts";
import { connect, untilBlocked } from "../support/gate.ts";
import { migratedPostgres, type TestPostgres } from "../support/postgres.ts";
import { type Guard, withoutGuard } from "../support/withoutGuard.ts";

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
  // Enough for one of two calls that want three each.
  await a!.query("DELETE FROM checkout.stock; INSERT INTO checkout.stock VALUES (7, 5)");
});

/** Takes stock. @returns the products with enough of it */
const take = async (client: Client, lines: typeof LINE) =>
  [...(await takeStock(client, lines))].map(Number).sort();

const available = async () =>
  (await watcher!.query("SELECT available FROM checkout.stock WHERE product_id = 7")).rows[0]
    .available;

/** Reserves three of five twice at once. @returns the result of the second, which waits for the first */
async function takeTwice(second: Client): Promise<number[]> {
  await a!.query("BEGIN");
  await b!.query("BEGIN");
  expect(await take(a!, LINE)).toEqual([7]);
  const taken = take(second, LINE).finally(() => b!.query("ROLLBACK"));
  await untilBlocked(watcher!, 1);
  return (await Promise.all([taken, a!.query("COMMIT")]))[0];
}

test("without its condition only the table's check stops overselling", async () => {
  const condition: Guard = [/WHERE stock\.available\s+>= .*excluded\.available/];
  const sale = withoutGuard(b!, [condition], (db) =>
    takeTwice(db).catch((error: unknown) => error),
  );
  expect(await sale).toMatchObject({ constraint: "stock_available_check" });
  expect(await available()).toBe(2);
});

test("a guard that matches no statement fails its test", async () => {
  const taken = withoutGuard(b!, [[/no such text/]], (db) => take(db, LINE));
  await expect(taken).rejects.toThrow("no statement has the guard /no such text/");
});

test("a second sale waits and finds too little", async () => {
  expect(await takeTwice(b!)).toEqual([]);
  expect(await available()).toBe(2);
});

test("a second sale succeeds after the first rolls back", async () => {
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

test("baskets in opposite order wait in line without deadlock", async () => {
  const lines = [7n, 8n, 9n].map((productId) => ({ productId, quantity: 1 }));
  await watcher!.query("INSERT INTO checkout.stock VALUES (8, 5), (9, 5)");
  const gate = await connect(postgres.url);
  await gate.query("BEGIN; SELECT FROM checkout.stock WHERE product_id = 8 FOR UPDATE");
  // Both lock up to the product in the middle.
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

test("V7 a quantity that is not positive takes no stock", async () => {
  const quantities = [-1000, -1, 0, -(2 ** 31)];
  for (const quantity of quantities) {
    // A product with a stock row, and one without.
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
