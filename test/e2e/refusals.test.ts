import { join } from "node:path";
import { Metadata, status } from "@grpc/grpc-js";
import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fixedRing, RingWatcher } from "waybill";
import { loadCredentials } from "waybill/auth";
import { Sessions, toMetadataValue } from "waybill/testing";
import { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { ADDRESS, shop } from "../support/callers/shopper.ts";
import { type Clients, contract, makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { refusal } from "../support/refusal.ts";

type SessionContract = ConstructorParameters<typeof Sessions>[0];

let cluster: TestCluster;
let byHand: Clients;

beforeAll(async () => {
  cluster = await startTestCluster();
  byHand = makeClients(cluster.target, { withJar: false, retries: false });
});
afterAll(async () => {
  byHand?.close();
  await cluster?.remove();
});

function withWaybill(...waybills: string[]): { metadata: Metadata } {
  const metadata = new Metadata();
  for (const waybill of waybills) metadata.add("waybill", waybill);
  return { metadata };
}

const JSON_STATE = { value: { $case: "json" as const, value: { a: 1 } } };

async function checkoutWaybill(): Promise<string> {
  let waybill = "";
  await byHand.checkout.beginCheckout(
    {},
    {
      onMetadata: (metadata) => {
        waybill = metadata.get("waybill")[0] as string;
      },
    },
  );
  return waybill;
}

async function sessionWaybill(): Promise<string> {
  let waybill = "";
  await byHand.session.beginSession(
    { state: JSON_STATE, waybill: undefined },
    {
      onMetadata: (metadata) => {
        waybill = metadata.get("waybill")[0] as string;
      },
    },
  );
  return waybill;
}

/** Seals waybills under the cluster's own key, as a replica of checkout does, but with chosen contents. */
async function forger() {
  const watcher = new RingWatcher({
    target: cluster.status().replicas[0]!.address,
    service: "checkout",
    audience: "checkout",
    credentials: loadCredentials(join(cluster.dataDir, "secrets", "credentials")),
  });
  await watcher.ready;
  const ring = fixedRing(watcher.current()!);
  await watcher.close();
  const usual = contract.method("/waybill.checkout.v1.CheckoutService/GetCheckout").session!;
  return ({ ageS = 0, ...changes }: Partial<SessionContract> & { ageS?: number } = {}) => {
    const now = () => Date.now() - ageS * 1000;
    const make = (said: SessionContract) => new Sessions(said, CheckoutState, ring, { now });
    const session = make({ ...usual, ...changes }).begin();
    // The envelope may claim another audience; the key is always checkout's.
    const sealer = make({ ...usual, ...changes, audience: usual.audience });
    return toMetadataValue(sealer.seal(sealer.successor(session, sealer.encode(session.state))));
  };
}

/** Checks that a valid waybill, the twin of each refused one, is served. */
async function expectServed(waybill: string): Promise<void> {
  await byHand.checkout.getCheckout({}, withWaybill(waybill));
}

describe("refuses a waybill", () => {
  const refused = async (...waybills: string[]) => {
    await expectServed(await checkoutWaybill());
    const { code, reason } = await refusal(
      byHand.checkout.getCheckout({}, withWaybill(...waybills)),
    );
    return { code, reason };
  };
  const INVALID = { code: status.UNAUTHENTICATED, reason: "WAYBILL_INVALID" };

  test("that is missing", async () => {
    expect(await refused()).toEqual({ code: status.UNAUTHENTICATED, reason: "WAYBILL_MISSING" });
  });

  test("that was altered or cut", async () => {
    const waybill = await checkoutWaybill();
    const middle = waybill.length / 2;
    const other = waybill[middle] === "A" ? "B" : "A";
    const tampered = waybill.slice(0, middle) + other + waybill.slice(middle + 1);
    for (const bad of [tampered, waybill.slice(0, -1), waybill.slice(0, 20), "nonsense"]) {
      expect(await refused(bad)).toEqual(INVALID);
    }
  });

  test("E3 that is oversized, before decryption", async () => {
    const waybill = `${await checkoutWaybill()}${"A".repeat(4096)}`;
    expect(await refused(waybill)).toEqual({
      code: status.RESOURCE_EXHAUSTED,
      reason: "WAYBILL_TOO_LARGE",
    });
  });

  test("E2 that is sent twice", async () => {
    const waybill = await checkoutWaybill();
    expect(await refused(waybill, waybill)).toEqual({
      code: status.INVALID_ARGUMENT,
      reason: "METADATA_DUPLICATED",
    });
  });

  test("of another audience", async () => {
    expect(await refused(await sessionWaybill())).toEqual(INVALID);
  });

  test("with a single wrong property", async () => {
    const forge = await forger();
    await expectServed(forge());
    const expired = forge({ ageS: 31 * 60 });
    expect(await refused(expired)).toEqual({
      code: status.UNAUTHENTICATED,
      reason: "WAYBILL_EXPIRED",
    });
    // A client with an expired waybill may begin a new session.
    await byHand.checkout.beginCheckout({}, withWaybill(expired));
    expect(await refused(forge({ ageS: -120 }))).toEqual(INVALID);
    expect(await refused(forge({ audience: "session" }))).toEqual(INVALID);
    const UNSUPPORTED = { code: status.FAILED_PRECONDITION, reason: "STATE_SCHEMA_UNSUPPORTED" };
    const stateType = "waybill.session.v1.SessionState";
    expect(await refused(forge({ stateType }))).toEqual(UNSUPPORTED);
    expect(await refused(forge({ revision: 99 }))).toEqual(UNSUPPORTED);
  });

  test("under an unknown key", async () => {
    const waybill = await checkoutWaybill();
    const kid = `${"A".repeat(11)}.${"A".repeat(22)}`;
    const header = { alg: "dir", enc: "A256GCM", typ: "waybill", kid };
    const forged = Buffer.from(JSON.stringify(header)).toString("base64url");
    expect(await refused(forged + waybill.slice(waybill.indexOf(".")))).toEqual(INVALID);
  });
});

test("E8 of a checkout at the session service", async () => {
  const checkout = await checkoutWaybill();
  const own = await sessionWaybill();
  const { session } = byHand;
  await session.openSession({ waybill: undefined }, withWaybill(own));
  const state = JSON_STATE;
  for (const call of [
    () => session.openSession({ waybill: undefined }, withWaybill(checkout)),
    () => session.advanceSession({ state, waybill: undefined }, withWaybill(checkout)),
    () => session.endSession({ waybill: undefined }, withWaybill(checkout)),
    () => session.beginSession({ state, waybill: undefined }, withWaybill(checkout)),
  ]) {
    expect((await refusal(call())).reason).toBe("WAYBILL_INVALID");
  }
  await expectServed(checkout);
});

test("E8 the key service is unreachable through the front proxy", async () => {
  const { KeysServiceService } = await import("#proto/waybill/keys/v1/keys.ts");
  const { createClient } = await import("#shared/client/client.ts");
  const outside = createClient(KeysServiceService, cluster.target);
  expect((await refusal(outside.getRing({ audience: "checkout" }))).code).toBe(
    status.UNIMPLEMENTED,
  );
  outside.close();
  // The replica itself requires a service's credential.
  const inside = createClient(KeysServiceService, cluster.status().replicas[0]!.address);
  expect(await refusal(inside.getRing({ audience: "checkout" }))).toMatchObject({
    code: status.UNAUTHENTICATED,
    reason: "CREDENTIAL_INVALID",
  });
  inside.close();
});

describe("a request", () => {
  test("with fields out of range names each field", async () => {
    const waybill = withWaybill(await checkoutWaybill());
    const { checkout, catalog } = byHand;
    const fieldsOf = async (call: Promise<unknown>) => {
      const { code, violations } = await refusal(call);
      expect(code).toBe(status.INVALID_ARGUMENT);
      return violations.map(({ field }) => field);
    };
    const tooMany = { product: "films/1", quantity: 100 };
    expect(await fieldsOf(checkout.addItem(tooMany, waybill))).toEqual(["product", "quantity"]);
    const nowhere = { address: { ...ADDRESS, regionCode: "usa" } };
    expect(await fieldsOf(checkout.setAddress(nowhere, waybill))).toEqual(["address"]);
    expect(await fieldsOf(checkout.chooseDelivery({ deliverySpeed: 0 }, waybill))).toEqual([
      "delivery_speed",
    ]);
    const list = { pageSize: -1, pageToken: "", filter: "", orderBy: "colour" };
    expect(await fieldsOf(catalog.listProducts(list))).toEqual(["page_size", "order_by"]);
    const filter = { pageSize: 1, pageToken: "", filter: "genre = Drama OR 1=1", orderBy: "" };
    expect(await fieldsOf(catalog.listProducts(filter))).toEqual(["filter"]);
    const twice = { names: ["products/1", "products/1"] };
    expect(await fieldsOf(catalog.batchGetProducts(twice))).toEqual(["names"]);
  });

  test("for a missing product names it", async () => {
    const waybill = withWaybill(await checkoutWaybill());
    const unknown = "products/99999";
    expect(await refusal(byHand.catalog.getProduct({ name: unknown }))).toMatchObject({
      code: status.NOT_FOUND,
      metadata: { product: unknown },
    });
    expect(await refusal(byHand.checkout.addItem({ product: unknown }, waybill))).toMatchObject({
      code: status.NOT_FOUND,
      reason: "PRODUCT_NOT_FOUND",
      metadata: { product: unknown },
    });
  });

  test("with a cursor of another filter is refused", async () => {
    const request = { pageSize: 5, pageToken: "", filter: 'genre = "Drama"', orderBy: "title" };
    const { nextPageToken: pageToken } = await byHand.catalog.listProducts(request);
    await byHand.catalog.listProducts({ ...request, pageToken, pageSize: 7 });
    const other = { ...request, pageToken, filter: 'genre = "Comedy"' };
    expect(await refusal(byHand.catalog.listProducts(other))).toMatchObject({
      code: status.INVALID_ARGUMENT,
      reason: "PAGE_TOKEN_INVALID",
    });
  });
});

describe("a checkout", () => {
  test("names what an order lacks at each step", async () => {
    const { checkout, close } = makeClients(cluster.target);
    await checkout.beginCheckout({});
    const reason = async (call: Promise<unknown>) => (await refusal(call)).reason;
    expect(await reason(checkout.placeOrder({}))).toBe("ORDER_EMPTY");
    expect(await reason(checkout.quoteCheckout({}))).toBe("ORDER_EMPTY");
    await checkout.addItem({ product: "products/1" });
    expect(await reason(checkout.quoteCheckout({}))).toBe("ADDRESS_MISSING");
    await checkout.setAddress({ address: ADDRESS });
    expect(await reason(checkout.quoteCheckout({}))).toBe("DELIVERY_MISSING");
    await checkout.chooseDelivery({ deliverySpeed: 1 });
    expect(await reason(checkout.placeOrder({}))).toBe("QUOTE_MISSING");
    await checkout.quoteCheckout({});
    // A change of the basket discards the quote.
    await checkout.updateItem({ product: "products/1", quantity: 3 });
    expect(await reason(checkout.placeOrder({}))).toBe("QUOTE_MISSING");
    expect(await reason(checkout.removeItem({ product: "products/2" }))).toBe("ITEM_NOT_FOUND");
    await checkout.quoteCheckout({});
    await checkout.placeOrder({});
    expect(await reason(checkout.addItem({ product: "products/1" }))).toBe("CHECKOUT_PLACED");
    close();
  });

  test("beyond the stock names the products and changes nothing", async () => {
    const db = new Client({ connectionString: cluster.databaseUrl });
    await db.connect();
    // The first product has enough stock; the failed order must not take any of it.
    await db.query("INSERT INTO checkout.stock VALUES (1999, 5), (2000, 0)");
    const count = async () =>
      (await db.query('SELECT count(*) FROM checkout."order"')).rows[0].count;
    const before = await count();
    const clients = makeClients(cluster.target);
    await clients.checkout.beginCheckout({});
    await clients.checkout.addItem({ product: "products/1999", quantity: 3 });
    await clients.checkout.addItem({ product: "products/2000" });
    await clients.checkout.setAddress({ address: ADDRESS });
    const { deliveryOptions } = await clients.checkout.listDeliveryOptions({});
    await clients.checkout.chooseDelivery({ deliverySpeed: deliveryOptions[0]!.deliverySpeed });
    await clients.checkout.quoteCheckout({});
    expect(await refusal(clients.checkout.placeOrder({}))).toMatchObject({
      reason: "STOCK_TOO_SMALL",
      metadata: { products: "products/2000" },
    });
    expect(await count()).toBe(before);
    await db.end();
    clients.close();
  });

  test("cannot be oversold by concurrent orders", async () => {
    const db = new Client({ connectionString: cluster.databaseUrl });
    await db.connect();
    await db.query("INSERT INTO checkout.stock VALUES (2100, 5)");
    const shoppers = Array.from({ length: 12 }, () => makeClients(cluster.target));
    const outcomes = await Promise.allSettled(shoppers.map((clients) => shop(clients, 2100)));
    for (const clients of shoppers) clients.close();
    expect(outcomes.filter(({ status: outcome }) => outcome === "fulfilled")).toHaveLength(5);
    const { rows } = await db.query("SELECT available FROM checkout.stock WHERE product_id = 2100");
    expect(rows).toEqual([{ available: 0 }]);
    await db.end();
  });

  test("S5 refuses writes with an older waybill, permits reads", async () => {
    const clients = makeClients(cluster.target);
    const older: string[] = [];
    await shop(clients, 2200, () => {
      older.push(clients.jar.peek("checkout")!);
    });
    clients.close();
    const earlier = withWaybill(older[3]!);
    const STALE = { code: status.ABORTED, reason: "WAYBILL_STALE" };
    for (const call of [
      () => byHand.checkout.addItem({ product: "products/2201" }, earlier),
      () => byHand.checkout.updateItem({ product: "products/2200", quantity: 1 }, earlier),
      () => byHand.checkout.setAddress({ address: ADDRESS }, earlier),
      () => byHand.checkout.endCheckout({}, earlier),
    ]) {
      expect(await refusal(call())).toMatchObject(STALE);
    }
    expect((await byHand.checkout.getCheckout({}, earlier)).order).toBe("");
  });

  test("hides the orders of other owners", async () => {
    const clients = makeClients(cluster.target);
    const order = await shop(clients, 2300);
    expect((await clients.checkout.getOrder({ name: order.name })).name).toBe(order.name);
    const stranger = makeClients(cluster.target);
    await stranger.checkout.beginCheckout({});
    expect((await refusal(stranger.checkout.getOrder({ name: order.name }))).reason).toBe(
      "ORDER_NOT_FOUND",
    );
    const { orders } = await stranger.checkout.listOrders({ pageSize: 0, pageToken: "" });
    expect(orders).toEqual([]);
    // A checkout begun with the earlier waybill has the same owner.
    await clients.checkout.beginCheckout({});
    const mine = await clients.checkout.listOrders({ pageSize: 0, pageToken: "" });
    expect(mine.orders.map(({ name }) => name)).toEqual([order.name]);
    stranger.close();
    clients.close();
  });
});

test("a response is revalidated by its ETag", async () => {
  let reply = new Metadata();
  const onMetadata = (metadata: Metadata) => {
    reply = metadata;
  };
  const first = await byHand.catalog.getProduct({ name: "products/7" }, { onMetadata });
  expect(reply.get("cache-control")).toEqual(["public, max-age=60, stale-while-revalidate=300"]);
  const metadata = new Metadata();
  metadata.set("if-none-match", reply.get("etag")[0]!);
  const again = await byHand.catalog.getProduct({ name: "products/7" }, { metadata, onMetadata });
  expect(reply.get("not-modified")).toEqual(["1"]);
  expect(again.title).toBe("");
  metadata.set("if-none-match", '"another"');
  const changed = await byHand.catalog.getProduct({ name: "products/7" }, { metadata, onMetadata });
  expect(reply.get("not-modified")).toEqual([]);
  expect(changed).toEqual(first);

  // A page's ETag is the same, although another replica seals a different page token.
  const page = { pageSize: 3, pageToken: "", filter: "", orderBy: "" };
  await byHand.catalog.listProducts(page, { onMetadata });
  metadata.set("if-none-match", reply.get("etag")[0]!);
  for (let call = 0; call < 4; call += 1) {
    await byHand.catalog.listProducts(page, { metadata, onMetadata });
    expect(reply.get("not-modified")).toEqual(["1"]);
  }
});

test("a waybill works in a message field too", async () => {
  const empty = {
    protected: Buffer.alloc(0),
    iv: Buffer.alloc(0),
    ciphertext: Buffer.alloc(0),
    tag: Buffer.alloc(0),
  };
  const begun = await byHand.session.beginSession({ state: JSON_STATE, waybill: empty });
  expect(begun.waybill?.iv).toHaveLength(12);
  const state = { value: { $case: "json" as const, value: { a: 2 } } };
  const advanced = await byHand.session.advanceSession({ state, waybill: begun.waybill });
  const opened = await byHand.session.openSession({ waybill: advanced.waybill });
  expect(opened.state).toMatchObject(state);
  expect(opened.session?.version).toBe(2);
  const both = byHand.session.openSession(
    { waybill: advanced.waybill },
    withWaybill(await sessionWaybill()),
  );
  expect((await refusal(both)).reason).toBe("METADATA_DUPLICATED");
});
