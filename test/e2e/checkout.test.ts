import { readFileSync } from "node:fs";
import { watch } from "node:fs/promises";
import { join } from "node:path";
import { Metadata } from "@grpc/grpc-js";
import { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Order } from "#proto/waybill/checkout/v1/checkout.ts";
import { shop } from "../support/callers/shopper.ts";
import { makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { refusal } from "../support/refusal.ts";

let cluster: TestCluster;

beforeAll(async () => {
  cluster = await startTestCluster();
});
afterAll(() => cluster?.remove());

/** Reads which replicas served each method, from the front proxy's access log. */
function landings(): Map<string, Set<string>> {
  const lines = readFileSync(join(cluster.dataDir, "logs", "access.log"), "utf8")
    .trim()
    .split("\n");
  const replicas = new Map<string, Set<string>>();
  for (const line of lines) {
    const { path, replica } = JSON.parse(line) as { path: string; replica: string };
    replicas.set(path, (replicas.get(path) ?? new Set()).add(replica));
  }
  return replicas;
}

test("a checkout lands on more than one replica", async () => {
  const clients = makeClients(cluster.target);
  const orders = new Set<string>();
  // The front proxy chooses the replicas: several checkouts are needed to reach more than one.
  for (let round = 1; round <= 20; round += 1) orders.add((await shop(clients, round)).name);
  clients.close();
  await logged("CheckoutService/PlaceOrder", 20);
  const spread = [...landings()].filter(([path]) => path.includes("CheckoutService"));
  expect(spread.map(([, replicas]) => replicas.size)).toEqual(Array(9).fill(2));
  expect(orders.size).toBe(20);
});

/** Waits until the access log has so many calls of a method; the front proxy writes it in batches. */
async function logged(method: string, calls: number): Promise<void> {
  const file = join(cluster.dataDir, "logs", "access.log");
  const done = () => readFileSync(file, "utf8").split(method).length > calls;
  for await (const _ of watch(file)) if (done()) return;
}

test("an order is placed once despite retries", async () => {
  const clients = makeClients(cluster.target);
  const byHand = makeClients(cluster.target, { withJar: false });
  const placed: Order[] = [];
  const metadata = new Metadata();
  const shopping = shop(clients, 100, async (step) => {
    if (step !== 9) return;
    metadata.set("waybill", clients.jar.peek("checkout")!);
    const again = Array.from({ length: 20 }, () => byHand.checkout.placeOrder({}, { metadata }));
    placed.push(...(await Promise.all(again)));
  });
  // A call with another idempotency key is no retry: its waybill is stale.
  expect((await refusal(shopping)).reason).toBe("WAYBILL_STALE");
  const [order] = placed;
  expect(new Set(placed.map(({ name }) => name))).toEqual(new Set([order!.name]));
  const { orders } = await clients.checkout.listOrders({ pageSize: 0, pageToken: "" });
  expect(orders.map(({ name }) => name)).toEqual([order!.name]);
  byHand.close();
  clients.close();

  const db = new Client({ connectionString: cluster.databaseUrl });
  await db.connect();
  const { rows } = await db.query(
    "SELECT checkout.initial_stock(100) - available AS taken FROM checkout.stock WHERE product_id = 100",
  );
  await db.end();
  expect(rows).toEqual([{ taken: 1 }]);
});

test("waybills and orders survive a cluster restart", async () => {
  const clients = makeClients(cluster.target);
  await clients.checkout.beginCheckout({});
  await clients.checkout.addItem({ product: "products/300" });
  const waybill = clients.jar.peek("checkout");
  const order = await shop(makeClients(cluster.target), 301);
  clients.close();

  const { dataDir } = cluster;
  await cluster.stop();
  cluster = await startTestCluster({ dataDir });

  const metadata = new Metadata();
  metadata.set("waybill", waybill!);
  const after = makeClients(cluster.target, { withJar: false });
  const checkout = await after.checkout.getCheckout({}, { metadata });
  expect(checkout.items.map(({ product }) => product)).toEqual(["products/300"]);
  after.close();

  const db = new Client({ connectionString: cluster.databaseUrl });
  await db.connect();
  const { rowCount } = await db.query('SELECT FROM checkout."order" WHERE id = $1', [
    order.name.slice("orders/".length),
  ]);
  await db.end();
  expect(rowCount).toBe(1);
});
