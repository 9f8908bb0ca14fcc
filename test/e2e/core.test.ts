import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { shop } from "../support/callers/shopper.ts";
import { type Clients, makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { refusal } from "../support/refusal.ts";
import { step } from "../support/step.ts";

// Covers the core of the product for `npm run test:fast`. The other files test each subject in depth.

let cluster: TestCluster;
let clients: Clients;
/** Has no jar: the test chooses the waybill of each call. */
let byHand: Clients;
beforeAll(async () => {
  cluster = await startTestCluster();
  clients = makeClients(cluster.target);
  byHand = makeClients(cluster.target, { withJar: false, retries: false });
});
afterAll(async () => {
  clients?.close();
  byHand?.close();
  await cluster?.remove();
});

const state = (number: number) => ({ value: { $case: "json" as const, value: { number } } });

test("carries a session through its life", async () => {
  const { session } = clients;
  await session.beginSession({ state: state(1), waybill: undefined });
  await session.advanceSession({ state: state(2), waybill: undefined });
  expect(await session.openSession({ waybill: undefined })).toMatchObject({
    state: state(2),
    session: { version: 2 },
  });
  await session.endSession({ waybill: undefined });
  expect(clients.jar.peek("session")).toBeUndefined();
});

test("refuses an older waybill, and an ended session", async () => {
  const { checkout } = byHand;
  const add = (waybill: string, key: string, quantity = 1) =>
    step(checkout.addItem, { product: "products/1", quantity }, { waybill, key });
  const first = (await step(checkout.beginCheckout, {})).waybill!;
  const added = await add(first, "k");
  // A retry gets the saved response.
  expect((await add(first, "k")).response).toEqual(added.response);
  expect((await refusal(add(first, "k", 2))).reason).toBe("IDEMPOTENCY_KEY_REUSED");
  const { waybill: newest } = await add(added.waybill!, randomUUID());
  expect((await refusal(add(first, randomUUID()))).reason).toBe("WAYBILL_STALE");
  await step(checkout.endCheckout, {}, { waybill: newest });
  expect((await refusal(add(newest!, randomUUID()))).reason).toBe("WAYBILL_ENDED");
});

test("refuses forged and missing waybills, and invalid requests", async () => {
  const { checkout } = byHand;
  const { waybill } = await step(checkout.beginCheckout, {});
  const forged = `${waybill!.slice(0, -2)}AA`;
  const read = (waybill?: string) => step(checkout.getCheckout, {}, { waybill });
  expect((await refusal(read(forged))).reason).toBe("WAYBILL_INVALID");
  expect((await refusal(read())).reason).toBe("WAYBILL_MISSING");
  const invalid = step(checkout.addItem, { product: "products/1", quantity: -1 }, { waybill });
  expect((await refusal(invalid)).reason).toBe("INVALID_FIELD");
});

test("places an order although a replica is killed", async () => {
  const [victim] = cluster.status().replicas;
  const order = await shop(clients, 100, (step) => {
    if (step === 5) process.kill(victim!.pid, "SIGKILL");
  });
  const { orders } = await clients.checkout.listOrders({ pageSize: 0, pageToken: "" });
  expect(orders.map(({ name }) => name)).toEqual([order.name]);
});
