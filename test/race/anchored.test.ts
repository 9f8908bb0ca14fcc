import { randomBytes, randomUUID } from "node:crypto";
import type { Client } from "pg";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { Checkout } from "#proto/waybill/checkout/v1/checkout.ts";
import { CheckoutState, DeliverySpeed } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { Anchors } from "#shared/anchors/anchors.ts";
import { readError } from "#shared/errors.ts";
import { createPool, type Pool } from "#shared/pg/pool.ts";
import { newUuid } from "#shared/runtime/ids.ts";
import { type Stolen, stealRing } from "../support/callers/ringThief.ts";
import { ADDRESS } from "../support/callers/shopper.ts";
import { type Clients, makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { connect, untilBlocked } from "../support/gate.ts";
import { refusal } from "../support/refusal.ts";
import { type Stepped, step } from "../support/step.ts";
import { withoutGuard } from "../support/withoutGuard.ts";

let cluster: TestCluster;
let [gate, watcher]: Client[] = [];
let pool: Pool | undefined;
/** One client for each replica, so that the test chooses where a call goes. */
let [a, b]: Clients[] = [];
let stolen: Stolen<CheckoutState>;
beforeAll(async () => {
  cluster = await startTestCluster();
  [gate, watcher] = await Promise.all([connect(cluster.databaseUrl), connect(cluster.databaseUrl)]);
  pool = createPool(cluster.databaseUrl, { max: 4, name: "race" });
  [a, b] = cluster
    .status()
    .replicas.map(({ address }) => makeClients(address, { withJar: false, retries: false }));
  const path = "/waybill.checkout.v1.CheckoutService/GetCheckout";
  stolen = await stealRing(cluster, path, CheckoutState);
});
afterAll(async () => {
  a?.close();
  b?.close();
  await Promise.all([gate?.end(), watcher?.end(), pool?.end()]);
  await cluster?.remove();
});

/** Each test has products of its own. */
let product = 0;
let first: string;
beforeEach(async () => {
  product += 10;
  first = (await step(a!.checkout.beginCheckout, {})).waybill!;
});

const FIRST_ITEM = () => ({ product: `products/${product}`, quantity: 1 });
const add = (clients: Clients, waybill: string, quantity = 1, key?: string) =>
  step(clients.checkout.addItem, { ...FIRST_ITEM(), quantity }, { waybill, ...(key && { key }) });
const address = (clients: Clients, waybill: string) =>
  step(clients.checkout.setAddress, { address: ADDRESS }, { waybill });
const place = (clients: Clients, waybill: string, key?: string) =>
  step(clients.checkout.placeOrder, {}, { waybill, ...(key && { key }) });

/** Prepares a checkout for PlaceOrder. @returns the waybill of its quote */
async function quoted(): Promise<string> {
  const { waybill: added } = await add(a!, first);
  const { waybill: addressed } = await address(a!, added!);
  const chosen = await step(
    a!.checkout.chooseDelivery,
    { deliverySpeed: DeliverySpeed.DELIVERY_SPEED_STANDARD },
    { waybill: addressed },
  );
  return (await step(a!.checkout.quoteCheckout, {}, { waybill: chosen.waybill })).waybill!;
}

/** Runs calls while the anchor table is locked, until all of them wait for it. */
async function heldBack<T>(calls: () => Promise<T>[], waiting: number): Promise<Promise<T>[]> {
  await gate!.query("BEGIN; LOCK TABLE checkout.anchor IN EXCLUSIVE MODE");
  const made = calls();
  for (const call of made) call.catch(() => {});
  await untilBlocked(watcher!, waiting);
  return made;
}
const release = () => gate!.query("COMMIT");

const outcomes = async (calls: Promise<unknown>[]) => {
  const settled = await Promise.allSettled(calls);
  return Promise.all(
    settled.map(async ({ status }, index) =>
      status === "fulfilled" ? "OK" : (await refusal(calls[index]!)).reason,
    ),
  );
};
const countOf = async (table: string, column: string, id: string) =>
  (await watcher!.query(`SELECT FROM checkout.${table} WHERE ${column} = $1`, [id])).rowCount;
const newest = async () =>
  (
    await watcher!.query<{ session_id: string; version: number }>(
      "SELECT session_id, version FROM checkout.anchor ORDER BY session_id DESC LIMIT 1",
    )
  ).rows[0]!;

/** Advances one session from two replicas concurrently. @returns whether each advance succeeded */
async function advanceTwice(db: Pool): Promise<boolean[]> {
  const [one, other] = ["a", "b"].map((replica) => new Anchors(db, "checkout", replica));
  const from = { sessionId: newUuid(), version: 1, digest: randomBytes(32) };
  await one!.create({ ...from, savedResponse: Buffer.of(1), expiresAt: Date.now() + 60_000 });
  const next = () => ({
    digest: randomBytes(32),
    identity: { idempotencyDigest: randomBytes(32), requestDigest: randomBytes(32) },
    savedResponse: Buffer.of(2),
    ended: false,
  });
  const made = await heldBack(() => [one!.advance(from, next()), other!.advance(from, next())], 2);
  await release();
  return Promise.all(made);
}

test("without the version predicate two advances both succeed", async () => {
  const predicate = /AND anchor\.version = move\.version\s+AND anchor\.head = move\.head/;
  expect(await withoutGuard(pool!, [[predicate]], advanceTwice)).toEqual([true, true]);
  expect((await newest()).version).toBe(3);
});

test("with the version predicate one of two advances succeeds", async () => {
  expect((await advanceTwice(pool!)).sort()).toEqual([false, true]);
  expect((await newest()).version).toBe(2);
});

test("one of two concurrent calls wins, another is stale", async () => {
  const made = await heldBack(() => [add(a!, first), address(b!, first)], 2);
  await release();
  expect((await outcomes(made)).sort()).toEqual(["OK", "WAYBILL_STALE"]);
  expect((await newest()).version).toBe(2);
});

test("a locked session blocks no other session", async () => {
  const id = (await newest()).session_id;
  await gate!.query("BEGIN");
  await gate!.query("SELECT FROM checkout.anchor WHERE session_id = $1 FOR UPDATE", [id]);
  let isServed = false;
  const held = add(a!, first).then((served) => {
    isServed = true;
    return served;
  });
  let { waybill } = await step(a!.checkout.beginCheckout, {});
  for (let call = 0; call < 20; call += 1) {
    waybill = (await add(a!, waybill!)).waybill;
  }
  expect(isServed).toBe(false);
  await release();
  expect((await held).response.items).toHaveLength(1);
});

test("calls waiting for one session leave connections for others", async () => {
  const ready = await quoted();
  const id = (await newest()).session_id;
  await gate!.query("BEGIN");
  await gate!.query("SELECT FROM checkout.anchor WHERE session_id = $1 FOR UPDATE", [id]);
  // More calls than connections.
  const waiting = Array.from({ length: 12 }, (_, index) => place(a!, ready, `key-${index}`));
  for (const call of waiting) call.catch(() => {});
  await untilBlocked(watcher!, 1);
  const { waybill } = await step(a!.checkout.beginCheckout, {});
  expect((await add(a!, waybill!)).response.items).toHaveLength(1);
  await release();
  const said = await outcomes(waiting);
  expect(said.filter((outcome) => outcome === "OK")).toHaveLength(1);
  expect(said.filter((outcome) => outcome === "WAYBILL_STALE")).toHaveLength(11);
});

test("one of twenty concurrent calls wins", async () => {
  const made = Array.from({ length: 20 }, (_, index) =>
    add(index % 2 === 0 ? a! : b!, first, index + 1),
  );
  const said = await outcomes(made);
  expect(said.filter((outcome) => outcome === "OK")).toHaveLength(1);
  expect(said.filter((outcome) => outcome === "WAYBILL_STALE")).toHaveLength(19);
});

test.each([
  ["with a key", () => randomUUID()],
  ["without one", () => undefined],
])("a retry during its first attempt shares it: %s", async (_, newKey) => {
  const key = newKey();
  const made = await heldBack(() => [add(a!, first, 1, key), add(b!, first, 1, key)], 2);
  await release();
  const [one, two] = (await Promise.all(made)) as [Stepped<Checkout>, Stepped<Checkout>];
  expect(two.response).toEqual(one.response);
  expect(one.response.items.map(({ quantity }) => quantity)).toEqual([1]);
  const [its, theirs] = [one, two].map(({ waybill }) => stolen.envelopeOf(waybill!));
  expect(await theirs).toEqual(await its);
  const { session_id, version } = await newest();
  expect(version).toBe(2);
  expect(await countOf("advance", "session_id", session_id)).toBe(2);
  // Both have the same successor: an advance from either is a replay of the same call.
  const [on, again] = [await add(a!, one.waybill!, 2, "on"), await add(b!, two.waybill!, 2, "on")];
  expect(again.response).toEqual(on.response);
  expect((await newest()).version).toBe(3);
});

test("an order retried during its attempt is placed once", async () => {
  const waybill = await quoted();
  await gate!.query("INSERT INTO checkout.stock VALUES ($1, 50)", [product]);
  await gate!.query("BEGIN");
  await gate!.query("SELECT FROM checkout.stock WHERE product_id = $1 FOR UPDATE", [product]);
  // The first call holds the anchor and waits for the stock; the second waits for the anchor.
  const one = place(a!, waybill, "once");
  await untilBlocked(watcher!, 1);
  const two = place(b!, waybill, "once");
  await untilBlocked(watcher!, 2);
  await release();
  const [first, second] = await Promise.all([one, two]);
  expect(second.response).toEqual(first.response);
  const id = first.response.name.slice("orders/".length);
  expect(await countOf('"order"', "id", id)).toBe(1);
  const { rows } = await watcher!.query(
    "SELECT available FROM checkout.stock WHERE product_id = $1",
    [product],
  );
  expect(rows).toEqual([{ available: 49 }]);
});

test("a retry places the order of a dead attempt", async () => {
  const waybill = await quoted();
  await gate!.query("INSERT INTO checkout.stock VALUES ($1, 50)", [product]);
  await gate!.query("BEGIN");
  await gate!.query("SELECT FROM checkout.stock WHERE product_id = $1 FOR UPDATE", [product]);
  const one = refusal(place(a!, waybill, "once"));
  await untilBlocked(watcher!, 1);
  const two = place(b!, waybill, "once");
  await untilBlocked(watcher!, 2);
  await watcher!.query(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE query LIKE '%checkout.stock%' AND cardinality(pg_blocking_pids(pid)) > 0
        AND application_name = 'waybill-checkout'`,
  );
  expect((await one).reason).toBe("DATABASE_UNAVAILABLE");
  await release();
  const { response } = await two;
  expect(await countOf('"order"', "id", response.name.slice("orders/".length))).toBe(1);
});

test("an order beyond the stock advances no session", async () => {
  const waybill = await quoted();
  await gate!.query("INSERT INTO checkout.stock VALUES ($1, 0)", [product]);
  expect((await refusal(place(a!, waybill, "k"))).reason).toBe("STOCK_TOO_SMALL");
  expect((await newest()).version).toBe(5);
  await gate!.query("UPDATE checkout.stock SET available = 1 WHERE product_id = $1", [product]);
  const { response } = await place(b!, waybill, "k");
  expect(await countOf('"order"', "id", response.name.slice("orders/".length))).toBe(1);
});

test("placing and abandoning a checkout exclude each other", async () => {
  const waybill = await quoted();
  const made = await heldBack<Stepped<unknown>>(
    () => [step(a!.checkout.endCheckout, {}, { waybill }), place(b!, waybill)],
    2,
  );
  await release();
  const said = await outcomes(made);
  const { session_id } = await newest();
  const orders = await countOf('"order"', "id", session_id);
  expect([
    [["OK", "WAYBILL_ENDED"], 0],
    [["WAYBILL_STALE", "OK"], 1],
  ]).toContainEqual([said, orders]);
});

test("a retried end gets its response, others WAYBILL_ENDED", async () => {
  const { waybill } = await add(a!, first);
  const ended = await step(a!.checkout.endCheckout, {}, { waybill, key: "end" });
  expect(ended.waybill).toBe("");
  expect((await step(b!.checkout.endCheckout, {}, { waybill, key: "end" })).waybill).toBe("");
  const other = step(b!.checkout.endCheckout, {}, { waybill, key: "other" });
  expect((await refusal(other)).reason).toBe("WAYBILL_ENDED");
  expect((await refusal(add(b!, waybill!))).reason).toBe("WAYBILL_ENDED");
  expect((await refusal(add(b!, first, 7))).reason).toBe("WAYBILL_ENDED");
});

test("refuses an idempotency key reused with another request", async () => {
  await add(a!, first, 1, "k");
  expect((await refusal(add(b!, first, 2, "k"))).reason).toBe("IDEMPOTENCY_KEY_REUSED");
  const elsewhere = step(
    b!.checkout.setAddress,
    { address: ADDRESS },
    { waybill: first, key: "k" },
  );
  expect((await refusal(elsewhere)).reason).toBe("IDEMPOTENCY_KEY_REUSED");
  expect((await newest()).version).toBe(2);
});

test("a retry gets its saved response although preconditions changed", async () => {
  const { response } = await add(a!, first);
  // It is on the feed, too: every replica drops its cached product.
  await gate!.query(
    `WITH gone AS (DELETE FROM catalog.product WHERE id = $1 RETURNING id),
          head AS (UPDATE catalog.feed SET number = number + 1 RETURNING number)
     INSERT INTO catalog.change (number, product_id) SELECT number, id FROM head, gone`,
    [product],
  );
  const refused = async () => {
    const { waybill } = await step(b!.checkout.beginCheckout, {});
    return add(b!, waybill!).then(
      () => "served",
      (error) => readError(error).reason,
    );
  };
  await expect.poll(refused, { timeout: 30_000 }).toBe("PRODUCT_NOT_FOUND");
  expect((await add(b!, first)).response).toEqual(response);
});

test("a retry is stale after its successor was used", async () => {
  const { waybill } = await add(a!, first, 1, "k");
  await address(b!, waybill!);
  expect((await refusal(add(b!, first, 1, "k"))).reason).toBe("WAYBILL_STALE");
});

test.each(["x".repeat(256), "white space"])("refuses the idempotency key %o", async (key) => {
  const call = add(a!, first, 1, key);
  expect((await refusal(call)).reason).toBe("IDEMPOTENCY_KEY_INVALID");
  expect((await newest()).version).toBe(1);
});
