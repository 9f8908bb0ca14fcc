import { randomBytes } from "node:crypto";
import { Metadata } from "@grpc/grpc-js";
import type { Client as PgClient } from "pg";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import {
  CheckoutServiceService,
  type SetItemsResponse,
} from "#proto/waybill/checkout/v1/checkout.ts";
import { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { Anchors } from "#shared/anchors/anchors.ts";
import { SavedResponses, savedAudience } from "#shared/anchors/savedResponses.ts";
import { Spills } from "#shared/anchors/spills.ts";
import { createClient, type ServiceClient } from "#shared/client/client.ts";
import type { Context, Handlers } from "#shared/contract/handlers.ts";
import type { StatusError } from "#shared/errors.ts";
import { createPool, type Pool } from "#shared/pg/pool.ts";
import { Server } from "#shared/server/server.ts";
import { fieldToMetadataValue } from "#shared/waybill/carriers.ts";
import { contract } from "../support/clients.ts";
import { connect, untilBlocked } from "../support/gate.ts";
import { migratedPostgres, type TestPostgres } from "../support/postgres.ts";
import { refusal } from "../support/refusal.ts";
import { makeRingSource } from "../support/rings.ts";
import { step } from "../support/step.ts";

type All = Handlers<typeof CheckoutServiceService, CheckoutState>;
type Client = ServiceClient<typeof CheckoutServiceService>;

const ring = makeRingSource("checkout");
const savedResponses = new SavedResponses("checkout", makeRingSource(savedAudience("checkout")));
const COUNT = 4;

let postgres: TestPostgres;
let pool: Pool;
const servers: Server[] = [];
let [a, b]: Client[] = [];
let watcher: PgClient;
/** Runs in the handler before it advances to a number. */
let before: (number: number, context: Context<CheckoutState>) => Promise<void>;

/** Counts from the state's number, and inserts a row for each number in the advance's transaction. */
async function* count(_request: unknown, context: Context<CheckoutState>) {
  const { session } = context;
  for (let number = Number(session.state.order) + 1; number <= COUNT; number += 1) {
    const db = await context.transaction();
    await db.query("INSERT INTO effect VALUES ($1, $2)", [session.id, number]);
    await before(number, context);
    session.state.order = `${number}`;
    yield await context.advance({
      item: { product: `products/${number}`, quantity: 1 },
      waybill: undefined,
    });
  }
}

async function serve(): Promise<Client> {
  const server = new Server({ contract });
  servers.push(server);
  const handlers: Partial<All> = {
    async beginCheckout(_request, { session: { state } }) {
      state.order = "0";
      return { items: [], address: undefined, deliverySpeed: 0, quote: undefined, order: "" };
    },
    setItems: count,
  };
  const all = new Proxy(handlers, {
    get: (own, name) => own[name as keyof All] ?? (() => Promise.reject(new Error("unused"))),
  }) as All;
  const anchors = new Anchors(pool, "checkout", `replica/${servers.length}`);
  const parts = { state: CheckoutState, ring, anchorage: { anchors, savedResponses } };
  server.add(CheckoutServiceService, all, parts);
  return createClient(CheckoutServiceService, `127.0.0.1:${await server.listen("127.0.0.1:0")}`);
}

beforeAll(async () => {
  postgres = await migratedPostgres();
  pool = createPool(postgres.url, { max: 10, name: "streams" });
  await pool.query("CREATE TABLE effect (session uuid, number integer)");
  watcher = await connect(postgres.url);
  a = await serve();
  b = await serve();
});
afterAll(async () => {
  a?.close();
  b?.close();
  for (const server of servers) await server.drain();
  await watcher?.end();
  await pool?.end();
  await postgres?.remove();
});

let first: string;
beforeEach(async () => {
  before = async () => {};
  await pool.query("TRUNCATE effect");
  first = (await step(a!.beginCheckout, {})).waybill!;
});

/** Streams until a failure, and collects the messages. */
async function run(client: Client, waybill: string, heard: SetItemsResponse[] = []) {
  const metadata = new Metadata();
  metadata.set("waybill", waybill);
  metadata.set("idempotency-key", "the-same");
  const request = { items: [{ product: "products/1", quantity: 1 }] };
  for await (const message of client.setItems(request, { metadata })) heard.push(message);
  return heard;
}
const numbers = (messages: SetItemsResponse[]) =>
  messages.map(({ item }) => Number(item!.product.slice("products/".length)));
const effects = async () =>
  (await pool.query("SELECT number FROM effect ORDER BY number")).rows.map(
    ({ number }) => number as number,
  );

test("each advance commits exactly its handler's preceding work", async () => {
  before = async (number) => {
    if (number === 3) throw new Error("the power goes out");
  };
  const heard: SetItemsResponse[] = [];
  expect((await refusal(run(a!, first, heard))).reason).toBe("INTERNAL");
  expect([numbers(heard), await effects()]).toEqual([
    [1, 2],
    [1, 2],
  ]);
  before = async () => {};
  // From the first waybill: the stream replays saved responses, then continues.
  expect(numbers(await run(b!, first))).toEqual([1, 2, 3, 4]);
  expect(await effects()).toEqual([1, 2, 3, 4]);
});

test("a stream reopened during its first attempt repeats nothing", async () => {
  const [isInSecond, mayGoOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let holds = true;
  before = async (number) => {
    if (number !== 2 || !holds) return;
    holds = false;
    isInSecond.resolve();
    await mayGoOn.promise;
  };
  const firstAttempt = run(a!, first);
  await isInSecond.promise;
  // The first attempt holds the session's row lock, in the middle of its second advance.
  const heard: SetItemsResponse[] = [];
  const second = run(b!, first, heard);
  second.catch(() => {});
  await untilBlocked(watcher, 1);
  expect(numbers(heard)).toEqual([1]);
  mayGoOn.resolve();
  expect(numbers(await firstAttempt)).toEqual([1, 2, 3, 4]);
  // The client receives the saved responses, and knows that its own call advanced the session.
  expect(await refusal(second)).toMatchObject({
    reason: "WAYBILL_STALE",
    metadata: { served: "true" },
  });
  expect(await effects()).toEqual([1, 2, 3, 4]);
  const last = fieldToMetadataValue(heard.at(-1)!.waybill)!;
  expect(numbers(await run(b!, last))).toEqual([2, 3, 4]);
});

test("refuses to send a message during a transaction", async () => {
  const causes: unknown[] = [];
  const log = {
    error: ({ err }: { err: unknown }) => causes.push(err),
    warn() {},
    info() {},
    debug() {},
  };
  const server = new Server({ contract, log: log as never });
  servers.push(server);
  const handlers = {
    async *setItems(_request: unknown, context: Context<CheckoutState>) {
      await context.transaction();
      yield { item: undefined, waybill: undefined };
    },
  };
  const all = new Proxy(handlers, {
    get: (own, name) =>
      own[name as keyof typeof own] ?? (() => Promise.reject(new Error("unused"))),
  }) as unknown as All;
  const anchorage = { anchors: new Anchors(pool, "checkout", "replica/3"), savedResponses };
  server.add(CheckoutServiceService, all, { state: CheckoutState, ring, anchorage });
  const client = createClient(
    CheckoutServiceService,
    `127.0.0.1:${await server.listen("127.0.0.1:0")}`,
  );
  expect((await refusal(run(client, first))).reason).toBe("INTERNAL");
  expect(String(causes[0])).toMatch("SetItems has a transaction open: advance with the message");
  client.close();
  // No transaction remains open.
  const { rowCount } = await pool.query(
    "SELECT FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'",
  );
  expect(rowCount).toBe(0);
});

/** A server with another SetItems handler. */
async function serveOther(setItems: All["setItems"], more: { spills?: Spills } = {}) {
  const causes: unknown[] = [];
  const log = {
    error: ({ err }: { err: unknown }) => causes.push(err),
    warn() {},
    info() {},
    debug() {},
  };
  const server = new Server({ contract, log: log as never });
  servers.push(server);
  const all = new Proxy({ setItems } as Partial<All>, {
    get: (own, name) => own[name as keyof All] ?? (() => Promise.reject(new Error("unused"))),
  }) as All;
  const anchorage = { anchors: new Anchors(pool, "checkout", "replica/other"), savedResponses };
  server.add(CheckoutServiceService, all, { state: CheckoutState, ring, anchorage, ...more });
  const target = `127.0.0.1:${await server.listen("127.0.0.1:0")}`;
  return { client: createClient(CheckoutServiceService, target), causes };
}

test("a failure at the end rolls back its step", async () => {
  const { client } = await serveOther(async function* (_request, context) {
    context.session.state.order = "1";
    yield await context.advance({ item: undefined, waybill: undefined });
    const db = await context.transaction();
    await db.query("INSERT INTO effect VALUES ($1, 9)", [context.session.id]);
    context.session.state.order = "x".repeat(5000);
  });
  // More calls than the pool has connections.
  for (let time = 0; time < 12; time += 1) {
    const begun = (await step(a!.beginCheckout, {})).waybill!;
    expect((await refusal(run(client, begun))).reason).toBe("WAYBILL_TOO_LARGE");
  }
  expect(await effects()).toEqual([]);
  const { rowCount } = await pool.query(
    "SELECT FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'",
  );
  expect(rowCount).toBe(0);
  client.close();
});

test("a handler continues after a refused state", async () => {
  const spills = new Spills(pool, "checkout", { quota: 10_000 });
  const { client } = await serveOther(
    async function* (_request, context) {
      const { state } = context.session;
      for (const size of [20_000, 1]) {
        state.order = randomBytes(size).toString("hex");
        try {
          yield await context.advance({ item: undefined, waybill: undefined });
        } catch (error) {
          expect((error as StatusError).reason).toBe("SPILL_QUOTA_EXCEEDED");
          const { rowCount } = await watcher.query(
            "SELECT FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'",
          );
          expect(rowCount).toBe(0);
          yield { item: undefined, waybill: undefined };
        }
      }
    },
    { spills },
  );
  const heard = await run(client, first);
  expect(heard.map(({ waybill }) => waybill !== undefined)).toEqual([false, true]);
  expect((await pool.query("SELECT FROM checkout.spill")).rowCount).toBe(0);
  client.close();
});

test("a handler may advance before its first message", async () => {
  let isSilent = false;
  const { client } = await serveOther(async function* (_request, context) {
    const { state } = context.session;
    state.order += "s";
    await context.advance();
    if (isSilent) return;
    state.order += "m";
    yield await context.advance({
      item: { product: "products/1", quantity: state.order.length },
      waybill: undefined,
    });
  });
  const quantities = async (trailers?: (waybill: string | undefined) => void) => {
    const metadata = new Metadata();
    metadata.set("waybill", first);
    metadata.set("idempotency-key", "the-same");
    const onTrailers = (received: Metadata) => trailers?.(received.get("waybill")[0]?.toString());
    const heard: number[] = [];
    const request = { items: [{ product: "products/1", quantity: 1 }] };
    for await (const { item } of client.setItems(request, { metadata, onTrailers })) {
      heard.push(item!.quantity);
    }
    return heard;
  };
  expect(await quantities()).toEqual([3]);
  // First the saved responses, then new ones of the handler, each with its waybill.
  expect(await quantities()).toEqual([3, 5]);
  // Without a message, the waybill comes in the trailers.
  isSilent = true;
  const last = Promise.withResolvers<string | undefined>();
  expect(await quantities(last.resolve)).toEqual([3, 5]);
  expect(await last.promise).toBeDefined();
  client.close();
});

test("refuses a saved response that was altered or swapped", async () => {
  await run(a!, first);
  const id = (
    await pool.query("SELECT session_id FROM checkout.anchor ORDER BY session_id DESC LIMIT 1")
  ).rows[0].session_id as string;
  const put = (version: number, sql: string) =>
    pool.query(
      `UPDATE checkout.advance SET answer = ${sql} WHERE session_id = $1 AND version = $2`,
      [id, version],
    );
  const other = "(SELECT answer FROM checkout.advance WHERE session_id = $1 AND version = 4)";
  for (const wrong of [other, "set_byte(answer, 40, get_byte(answer, 40) # 1)"]) {
    await put(2, wrong);
    expect((await refusal(run(b!, first))).reason).toBe("WAYBILL_INVALID");
  }
  // Without a saved response, the call is stale.
  await put(2, "NULL");
  expect((await refusal(run(b!, first))).reason).toBe("WAYBILL_STALE");
});
