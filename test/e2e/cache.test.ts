import { join } from "node:path";
import { Metadata } from "@grpc/grpc-js";
import { Client } from "pg";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { ResponseCache } from "waybill";
import { Assertions, loadCredentials } from "waybill/auth";
import {
  type CallSettings,
  createClient,
  followChanges,
  type ServiceClient,
  scopeName,
} from "waybill/client";
import { CatalogServiceService, Product } from "#proto/waybill/catalog/v1/catalog.ts";
import { DeliverySpeed } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { bearer, Callers } from "../support/callers/callers.ts";
import { ADDRESS } from "../support/callers/shopper.ts";
import { type Clients, contract, makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { refusal } from "../support/refusal.ts";

type Catalog = ServiceClient<typeof CatalogServiceService>;

let cluster: TestCluster;
let callers: Callers;
let frontProxy: Catalog;
/** Clients of the replicas, without the front proxy. */
let replicas: Catalog[];
/** Access token that may change products. */
let jwt: string;
/** Number of the test's own product. */
let nth = 100;
let name: string;

beforeAll(async () => {
  cluster = await startTestCluster({ replicas: 3 });
  callers = new Callers(cluster.target, cluster.status().adminSecretFile);
  frontProxy = createClient(CatalogServiceService, cluster.target, { contract });
  replicas = cluster
    .status()
    .replicas.map(({ address }) => createClient(CatalogServiceService, address, { contract }));
  const editor = await callers.account({ audiences: ["catalog"], scopes: ["catalog.write"] });
  ({ accessToken: jwt } = await callers.grant(editor.client));
});
beforeEach(() => {
  nth += 1;
  name = `products/${nth}`;
});
afterAll(async () => {
  callers?.close();
  for (const client of [frontProxy, ...(replicas ?? [])]) client?.close();
  await cluster?.remove();
});

/** Longest wait for events that take milliseconds; shorter than a cached response's lifetime. */
const WAIT = { timeout: 30_000 };

const dollars = (units: number) => ({ currencyCode: "USD", units: BigInt(units), nanos: 0 });

/** Changes the product through one replica. @returns the number of the change */
async function change(by: Catalog, values: Partial<Product>, paths: string[]): Promise<string> {
  let number = "";
  const onMetadata = (reply: Metadata) => {
    number = `${reply.get("change")[0]}`;
  };
  const product = Product.create({ name, ...values });
  await by.updateProduct({ product, updateMask: paths }, { ...bearer(jwt), onMetadata });
  return number;
}

/** Reads the product from a replica, with the response's metadata. */
async function get(from: Catalog, sent: Record<string, string> = {}, settings: CallSettings = {}) {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(sent)) metadata.set(key, value);
  let reply = new Metadata();
  const onMetadata = (received: Metadata) => {
    reply = received;
  };
  const product = await from.getProduct({ name }, { metadata, onMetadata, ...settings });
  const of = (key: string) => reply.get(key)[0]?.toString();
  return { ...product, age: of("age"), change: of("change"), etag: of("etag") };
}

/** Reads until the replica serves the product from its cache. */
async function warm(from: Catalog): Promise<Product> {
  let kept = await get(from);
  // A replica bypasses its cache until it has received every change that the caller knows.
  await expect
    .poll(async () => {
      kept = await get(from);
      return kept.change !== undefined && kept.age !== undefined;
    }, WAIT)
    .toBe(true);
  return kept;
}

test("UpdateProduct changes the fields in the mask", async () => {
  const before = await get(frontProxy);
  await change(frontProxy, { title: "Another title", genre: "Drama" }, ["title"]);
  const after = await get(frontProxy);
  expect(after).toMatchObject({ title: "Another title", genre: before.genre, price: before.price });
  await change(frontProxy, { price: dollars(3), runningTimeMinutes: 0 }, [
    "price",
    "running_time_minutes",
  ]);
  expect(await get(frontProxy)).toMatchObject({
    title: "Another title",
    price: dollars(3),
    runningTimeMinutes: 0,
  });
});

test("UpdateProduct without a mask changes only the set fields", async () => {
  const before = await get(frontProxy);
  await change(frontProxy, { genre: "Western", imdbRatingTenths: 71 }, []);
  const after = await get(frontProxy);
  const expected = { title: before.title, director: before.director, price: before.price };
  expect(after).toMatchObject({ ...expected, genre: "Western", imdbRatingTenths: 71 });
  expect(after.releaseDate).toEqual(before.releaseDate);
});

test("UpdateProduct refuses callers without permission and names invalid fields", async () => {
  const product = Product.create({ name, title: "x", price: dollars(1) });
  const update = { product, updateMask: ["title"] };
  expect((await refusal(frontProxy.updateProduct(update))).reason).toBe("CREDENTIAL_INVALID");
  const reader = await callers.account({ audiences: ["catalog"], scopes: [] });
  const { accessToken } = await callers.grant(reader.client);
  expect((await refusal(frontProxy.updateProduct(update, bearer(accessToken)))).reason).toBe(
    "ACCESS_DENIED",
  );
  const refused = async (values: Partial<Product>, ...updateMask: string[]) => {
    const changed = { product: { ...product, ...values }, updateMask };
    const { reason, violations } = await refusal(frontProxy.updateProduct(changed, bearer(jwt)));
    return [reason, ...violations.map(({ field }) => field)].join(" ");
  };
  const bad = { title: "", imdbRatingTenths: 101, runningTimeMinutes: -1, director: "x\0" };
  const price = { currencyCode: "EUR", units: 1n, nanos: 0 };
  const paths = ["title", "director", "running_time_minutes", "imdb_rating_tenths", "price"];
  expect(await refused({ ...bad, price }, ...paths)).toBe(
    "INVALID_FIELD product.title product.director product.running_time_minutes product.imdb_rating_tenths product.price",
  );
  expect(await refused({}, "name")).toBe("INVALID_FIELD update_mask");
  for (const money of [dollars(0), { ...dollars(1), nanos: 1 }, dollars(-1), dollars(1_000_000)]) {
    expect(await refused({ price: money }, "price")).toBe("INVALID_FIELD product.price");
  }
  expect(await refused({ name: "products/999999999" }, "title")).toBe("PRODUCT_NOT_FOUND");
  expect((await get(frontProxy)).title).not.toBe("x");
});

test("one replica's change reaches the other replicas' responses", async () => {
  for (const replica of replicas) await warm(replica);
  await change(replicas[0]!, { title: "Everywhere" }, ["title"]);
  for (const replica of replicas) {
    await expect.poll(async () => (await get(replica)).title, WAIT).toBe("Everywhere");
    // Cache it again.
    await warm(replica);
  }
});

test("a change evicts lists with it, not other products", async () => {
  const [replica] = replicas as [Catalog];
  const other = name;
  await warm(replica);
  nth += 1;
  name = `products/${nth}`;
  await change(replicas[1]!, { title: `Nothing like it ${nth}` }, ["title"]);
  const list = async () => {
    const request = { filter: `title:"nothing like it ${nth}"`, pageSize: 5, pageToken: "" };
    return (await replica.listProducts({ ...request, orderBy: "" })).products.map(
      (each) => each.name,
    );
  };
  await expect.poll(list, WAIT).toEqual([name]);
  await change(replicas[1]!, { title: "Something else" }, ["title"]);
  await expect.poll(list, WAIT).toEqual([]);
  name = other;
  expect(Number((await get(replica)).age)).toBeGreaterThanOrEqual(0);
});

test("a caller that knows a change reads nothing stale", async () => {
  for (const replica of replicas) await warm(replica);
  for (let round = 0; round < 20; round += 1) {
    const number = await change(replicas[round % 3]!, { title: `Round ${round}` }, ["title"]);
    for (const replica of replicas) {
      const { title, change: told } = await get(replica, { change: number });
      expect(title).toBe(`Round ${round}`);
      // The replica may report an older change than the caller's, but must not serve an older product.
      expect(BigInt(told!)).toBeLessThanOrEqual(BigInt(number));
    }
  }
});

test("a caching client reads its own writes through Envoy", async () => {
  const cache = new ResponseCache({ maxBytes: 1_000_000 });
  const client = createClient(CatalogServiceService, cluster.target, { contract, cache });
  for (let round = 0; round < 20; round += 1) {
    await client.getProduct({ name });
    await change(client, { title: `Mine ${round}` }, ["title"]);
    // Round robin sends each read to another replica.
    for (let read = 0; read < 4; read += 1) {
      expect((await client.getProduct({ name })).title).toBe(`Mine ${round}`);
    }
  }
  expect(cache.stats.hits).toBeGreaterThanOrEqual(20 * 3);
  client.close();
});

test("caching metadata passes Envoy; validated responses are empty", async () => {
  await expect.poll(async () => (await get(frontProxy)).age, WAIT).toBeDefined();
  const { etag } = await get(frontProxy);
  const metadata = new Metadata();
  metadata.set("if-none-match", etag!);
  let reply = new Metadata();
  const onMetadata = (received: Metadata) => {
    reply = received;
  };
  const product = await frontProxy.getProduct({ name }, { metadata, onMetadata });
  expect(product).toEqual(Product.create());
  expect(reply.get("not-modified")).toEqual(["1"]);
  expect(reply.get("cache-control")).toEqual(["public, max-age=60, stale-while-revalidate=300"]);
});

test("only services watch changes, from any known number", async () => {
  const [replica] = replicas as [Catalog];
  expect(
    (await refusal(frontProxy.watchChanges({ afterNumber: 0n })[Symbol.asyncIterator]().next()))
      .code,
  ).toBe(12);
  const signal = new AbortController();
  const credentials = loadCredentials(join(cluster.dataDir, "secrets", "credentials"));
  const own = new Assertions(credentials, "checkout");
  const watch = async (afterNumber: bigint) =>
    replica
      .watchChanges(
        { afterNumber },
        { signal: signal.signal, metadata: await own.to(CatalogServiceService.watchChanges) },
      )
      [Symbol.asyncIterator]();
  expect(
    (await refusal(replica.watchChanges({ afterNumber: 0n })[Symbol.asyncIterator]().next()))
      .reason,
  ).toBe("CREDENTIAL_INVALID");
  const number = BigInt(await change(replica, { title: "One" }, ["title"]));
  const known = await watch(number - 1n);
  expect((await known.next()).value).toMatchObject({
    number,
    gap: false,
    changes: [{ number, resources: [name] }],
  });
  const following = known.next();
  const next = BigInt(await change(replicas[1]!, { title: "Two" }, ["title"]));
  expect((await following).value).toMatchObject({ number: next, gap: false });
  // A caller that knows no change, or one that never existed, receives the feed's position.
  for (const after of [0n, next + 1000n]) {
    const { value } = await (await watch(after)).next();
    expect(value).toMatchObject({ number: next, gap: true, changes: [] });
  }
  // A caller that knows every change receives a message at once.
  expect((await (await watch(next)).next()).value).toMatchObject({
    number: next,
    gap: false,
    changes: [],
  });
  signal.abort();
});

test("a cache following the feed evicts only changed entries", async () => {
  const [replica] = replicas as [Catalog];
  const cache = new ResponseCache({ maxBytes: 1_000_000 });
  const { address } = cluster.status().replicas[0]!;
  const client = createClient(CatalogServiceService, address, { contract, cache });
  const credentials = loadCredentials(join(cluster.dataDir, "secrets", "credentials"));
  const own = new Assertions(credentials, "checkout");
  const scope = cache.scope(scopeName(address, "waybill.catalog.v1.CatalogService"));
  const stop = followChanges(scope, async function* (afterNumber, signal) {
    const metadata = await own.to(CatalogServiceService.watchChanges);
    yield* client.watchChanges({ afterNumber }, { signal, metadata });
  });
  await expect.poll(() => scope.position, WAIT).toBeGreaterThan(0n);
  await warm(client);
  const number = await change(replica, { title: "Heard of" }, ["title"]);
  await expect.poll(() => scope.position, WAIT).toBeGreaterThanOrEqual(BigInt(number));
  expect((await get(client)).title).toBe("Heard of");
  const { misses } = cache.stats;
  const other = name;
  name = "products/3000";
  await change(replica, { title: "Another" }, ["title"]);
  name = other;
  await expect.poll(() => scope.position, WAIT).toBeGreaterThan(BigInt(number));
  expect((await get(client)).title).toBe("Heard of");
  expect(cache.stats.misses).toBe(misses);
  stop();
  client.close();
});

/** Begins a checkout with the product in its basket. */
async function basket(): Promise<Clients> {
  const shopper = makeClients(cluster.target);
  await shopper.checkout.beginCheckout({});
  await shopper.checkout.addItem({ product: name, quantity: 2 });
  await shopper.checkout.setAddress({ address: ADDRESS });
  await shopper.checkout.chooseDelivery({ deliverySpeed: DeliverySpeed.DELIVERY_SPEED_STANDARD });
  return shopper;
}

test("checkout adds an item at the current price", async () => {
  // Every replica's checkout service caches the old price.
  for (let call = 0; call < 9; call += 1) (await basket()).close();
  await change(replicas[0]!, { price: dollars(77) }, ["price"]);
  const added = async () => {
    const shopper = makeClients(cluster.target);
    await shopper.checkout.beginCheckout({});
    const { items } = await shopper.checkout.addItem({ product: name });
    shopper.close();
    return items[0]!.unitPrice!.units;
  };
  let running = 0;
  // Enough in a row to reach every replica.
  await expect
    .poll(async () => {
      running = (await added()) === 77n ? running + 1 : 0;
      return running;
    }, WAIT)
    .toBeGreaterThanOrEqual(9);
});

test("a quote and its order use the current price", async () => {
  const shoppers = await Promise.all(Array.from({ length: 6 }, basket));
  // A quote caches the product, too.
  for (const { checkout } of shoppers) await checkout.quoteCheckout({});
  for (const replica of replicas) await warm(replica);
  // This change bypasses the feed: cached responses stay stale.
  const client = new Client({ connectionString: cluster.databaseUrl });
  await client.connect();
  await client.query("UPDATE catalog.product SET price_cents = 5500 WHERE id = $1", [nth]);
  await client.end();
  for (const replica of replicas) expect((await get(replica)).price).not.toMatchObject(dollars(55));
  for (const { checkout, close } of shoppers) {
    const { quote, items } = await checkout.quoteCheckout({});
    expect(quote!.itemsTotal).toMatchObject(dollars(110));
    expect(items[0]!.unitPrice).toMatchObject(dollars(55));
    expect((await checkout.placeOrder({})).quote).toEqual(quote);
    close();
  }
});

test("concurrent changes are numbered without gaps, in commit order", async () => {
  const client = new Client({ connectionString: cluster.databaseUrl });
  await client.connect();
  const numbers = await Promise.all(
    Array.from({ length: 60 }, async (_, at) => {
      const product = Product.create({
        name: `products/${500 + (at % 7)}`,
        title: `At once ${at}`,
      });
      let number = 0n;
      const onMetadata = (reply: Metadata) => {
        number = BigInt(`${reply.get("change")[0]}`);
      };
      const update = { product, updateMask: ["title"] };
      await replicas[at % 3]!.updateProduct(update, { ...bearer(jwt), onMetadata });
      return number;
    }),
  );
  const sorted = numbers.toSorted((a, b) => Number(a - b));
  expect(sorted).toEqual(sorted.map((_, at) => sorted[0]! + BigInt(at)));
  const { rows } = await client.query("SELECT number FROM catalog.feed");
  expect(BigInt(rows[0].number)).toBe(sorted.at(-1));
  await client.end();
});
