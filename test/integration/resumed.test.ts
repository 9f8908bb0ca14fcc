import { Metadata } from "@grpc/grpc-js";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { type Checkout, CheckoutServiceService } from "#proto/waybill/checkout/v1/checkout.ts";
import { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { Anchors } from "#shared/anchors/anchors.ts";
import { SavedResponses, savedAudience } from "#shared/anchors/savedResponses.ts";
import type { AccessToken } from "#shared/auth/tokens/claims.ts";
import { createClient, type ServiceClient } from "#shared/client/client.ts";
import { Jar } from "#shared/client/jar/jar.ts";
import type { Handlers } from "#shared/contract/handlers.ts";
import { createPool, type Pool } from "#shared/pg/pool.ts";
import { Server } from "#shared/server/server.ts";
import { contract } from "../support/clients.ts";
import { migratedPostgres, type TestPostgres } from "../support/postgres.ts";
import { refusal } from "../support/refusal.ts";
import { makeRingSource } from "../support/rings.ts";
import { type Stepped, step } from "../support/step.ts";

type All = Handlers<typeof CheckoutServiceService, CheckoutState>;

const MINUTE_MS = 60_000;
/** The caller of each call with a token. */
const ADA = { subject: "users/ada", client: "app", epoch: 1 } as AccessToken;
const token = "ada";

let postgres: TestPostgres;
let pool: Pool;
let server: Server;
let target: string;
let client: ServiceClient<typeof CheckoutServiceService>;
let now: number;
let runs = 0;

const view = (order: string): Checkout => ({
  items: [],
  address: undefined,
  deliverySpeed: 0,
  quote: undefined,
  order,
});
const handlers: Partial<All> = {
  beginCheckout: async () => view(""),
  getCheckout: async (_request, { session: { state } }) => view(state.order),
  resumeCheckout: async (_request, { session: { state } }) => view(state.order),
  updateItem: async ({ quantity }, { session: { state } }) => {
    runs += 1;
    state.order = `${quantity}`;
    return view(state.order);
  },
};

beforeAll(async () => {
  postgres = await migratedPostgres();
  pool = createPool(postgres.url, { max: 5, name: "resumed" });
  server = new Server({ contract });
  server.checkTokens({
    canCheck: () => true,
    caller: async ({ metadata }) =>
      metadata.get("authorization").length > 0 ? { token: ADA } : undefined,
  });
  const all = new Proxy(handlers, {
    get: (own, name) => own[name as keyof All] ?? (() => Promise.reject(new Error("unused"))),
  }) as All;
  const anchors = new Anchors(pool, "checkout", "test");
  const savedResponses = new SavedResponses("checkout", makeRingSource(savedAudience("checkout")));
  const ring = makeRingSource("checkout");
  const directory = { register: async () => {} };
  const parts = { state: CheckoutState, ring, anchorage: { anchors, savedResponses, directory } };
  server.add(CheckoutServiceService, all, Object.assign(parts, { now: () => now }));
  target = `127.0.0.1:${await server.listen("127.0.0.1:0")}`;
  client = createClient(CheckoutServiceService, target);
});
afterAll(async () => {
  client?.close();
  await server?.drain();
  await pool?.end();
  await postgres?.remove();
});

let first: string;
beforeEach(async () => {
  now = Date.now();
  runs = 0;
  first = (await step(client.beginCheckout, {}, { token })).waybill!;
});

const newest = async () =>
  (
    await pool.query<{ name: string; version: number }>(
      `SELECT 'sessions/' || session_id AS name, version FROM checkout.anchor
        ORDER BY session_id DESC LIMIT 1`,
    )
  ).rows[0]!;
const update = (waybill: string, quantity: number) =>
  step(client.updateItem, { product: "products/1", quantity }, { waybill, token });
/** Sends the session's name instead of a waybill. */
const updateNamed = (name: string, quantity: number, key?: string): Promise<Stepped<Checkout>> => {
  const named: typeof client.updateItem = (request, settings) => {
    settings!.metadata!.set("session", name);
    return client.updateItem(request, settings);
  };
  return step(named, { product: "products/1", quantity }, { token, ...(key && { key }) });
};

test("a session that only reads kept alive can be resumed", async () => {
  let { waybill } = await update(first, 7);
  const { name } = await newest();
  for (const minutes of [20, 40]) {
    now += 20 * MINUTE_MS;
    const read = await step(client.getCheckout, {}, { waybill, token });
    waybill = read.waybill ?? waybill;
    expect(read.response.order, `after ${minutes} minutes`).toBe("7");
  }
  const resumed = await step(client.resumeCheckout, { name }, { token });
  expect(resumed.response.order).toBe("7");
  // The resumed session's waybill has the usual lifetime.
  now += 20 * MINUTE_MS;
  await update(resumed.waybill!, 8);
  now += 40 * MINUTE_MS;
  expect((await updateNamed(name, 9)).response.order).toBe("9");
});

test("a session cannot be resumed after its absolute life", async () => {
  const { name } = await newest();
  now += 25 * 60 * MINUTE_MS;
  const late = step(client.resumeCheckout, { name }, { token });
  expect((await refusal(late)).reason).toBe("WAYBILL_EXPIRED");
});

test("calls by session name need keys for retries", async () => {
  const { name } = await newest();
  // Two devices with the same request, which the server cannot distinguish.
  for (let device = 0; device < 2; device += 1) await updateNamed(name, 3);
  expect([runs, (await newest()).version]).toEqual([2, 3]);
  const made = await updateNamed(name, 4, "once");
  const again = await updateNamed(name, 4, "once");
  expect([runs, (await newest()).version]).toEqual([3, 4]);
  expect(again.response).toEqual(made.response);
});

test("a refusal by session name keeps the jar's waybill", async () => {
  const { name } = await newest();
  const jar = new Jar({ contract });
  const own = createClient(CheckoutServiceService, target, {
    contract,
    interceptors: [jar.interceptor()],
  });
  const metadata = new Metadata();
  metadata.set("authorization", "Bearer ada");
  await own.beginCheckout({}, { metadata });
  const kept = jar.peek("checkout");
  now += 25 * 60 * MINUTE_MS;
  expect((await refusal(own.resumeCheckout({ name }, { metadata }))).reason).toBe(
    "WAYBILL_EXPIRED",
  );
  metadata.set("session", name);
  const request = { product: "products/1", quantity: 5 };
  expect((await refusal(own.updateItem(request, { metadata }))).reason).toBe("WAYBILL_EXPIRED");
  expect(jar.peek("checkout")).toBe(kept);
  own.close();
});
