import { Metadata, status } from "@grpc/grpc-js";
import type { Client } from "pg";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { readError } from "waybill";
import { fieldToMetadataValue } from "waybill/testing";
import type {
  EditItemsRequest,
  EditItemsResponse,
  SetItemsResponse,
  UploadItemsRequest,
} from "#proto/waybill/checkout/v1/checkout.ts";
import { type Clients, makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { connect, untilBlocked } from "../support/gate.ts";
import { refusal } from "../support/refusal.ts";
import { step } from "../support/step.ts";
import { waitFor } from "../support/waitFor.ts";

let cluster: TestCluster;
let [gate, watcher]: Client[] = [];
/** One client for each replica, until a test kills one. */
let [a, b]: Clients[] = [];
/** A client whose calls reach any serving replica. */
let any: Clients;
beforeAll(async () => {
  cluster = await startTestCluster();
  [gate, watcher] = await Promise.all([connect(cluster.databaseUrl), connect(cluster.databaseUrl)]);
  [a, b] = cluster
    .status()
    .replicas.map(({ address }) => makeClients(address, { withJar: false, retries: false }));
  any = makeClients(cluster.target, { withJar: false });
});
afterAll(async () => {
  any?.close();
  a?.close();
  b?.close();
  await Promise.all([gate?.end(), watcher?.end()]);
  await cluster?.remove();
});

let first: string;
beforeEach(async () => {
  first = (await step(any.checkout.beginCheckout, {})).waybill!;
});

const ITEMS = [1, 2, 3, 4, 5].map((id) => ({ product: `products/${id}`, quantity: id }));
const names = (messages: { item?: { product: string } | undefined }[]) =>
  messages.map(({ item }) => item?.product);
const basket = async (clients: Clients, waybill: string) =>
  (await step(clients.checkout.getCheckout, {}, { waybill })).response.items.map(
    ({ product, quantity }) => ({ product, quantity }),
  );

function metadataOf(waybill: string, key?: string): Metadata {
  const metadata = new Metadata();
  metadata.set("waybill", waybill);
  if (key !== undefined) metadata.set("idempotency-key", key);
  return metadata;
}

/** Sets all items. Cancels the call after `read` messages. */
async function setItems(
  clients: Clients,
  waybill: string,
  {
    key,
    read = ITEMS.length + 1,
    items = ITEMS,
  }: { key?: string; read?: number; items?: typeof ITEMS } = {},
) {
  const messages: SetItemsResponse[] = [];
  for await (const message of clients.checkout.setItems(
    { items },
    { metadata: metadataOf(waybill, key) },
  )) {
    messages.push(message);
    if (messages.length === read) break;
  }
  return { messages, waybill: fieldToMetadataValue(messages.at(-1)?.waybill) };
}

/** Reads the newest session's version numbers; a retry must add none. */
const versions = async () =>
  (
    await watcher!.query(
      `SELECT version FROM checkout.advance
        WHERE session_id = (SELECT max(session_id::text)::uuid FROM checkout.anchor) ORDER BY version`,
    )
  ).rows.map(({ version }) => version as number);

test("a response stream advances the session with each message", async () => {
  const { messages, waybill } = await setItems(a!, first);
  expect(names(messages)).toEqual(names(ITEMS.map((item) => ({ item }))));
  expect(await versions()).toEqual([1, 2, 3, 4, 5, 6]);
  expect(await basket(b!, waybill!)).toEqual(ITEMS);
  // Items that are already set cause no advance and no message.
  expect((await setItems(b!, waybill!)).messages).toEqual([]);
  // Each waybill carries the state of its message.
  expect(await basket(b!, fieldToMetadataValue(messages[1]!.waybill)!)).toEqual(ITEMS.slice(0, 2));
});

test("a broken stream resumes after the caller's last waybill", async () => {
  const all = await setItems(a!, first, { key: "one" });
  for (const lastSeen of [0, 1, 3]) {
    const from =
      lastSeen === 0 ? first : fieldToMetadataValue(all.messages[lastSeen - 1]!.waybill)!;
    const again = await setItems(b!, from, { key: "one" });
    // Saved responses: no advance happens twice.
    expect(names(again.messages)).toEqual(names(all.messages.slice(lastSeen)));
    expect(await basket(a!, again.waybill!)).toEqual(ITEMS);
  }
  expect(await versions()).toEqual([1, 2, 3, 4, 5, 6]);
  // Without an idempotency key, the request identity is the key; another request is another call.
  expect((await refusal(setItems(b!, first))).reason).toBe("WAYBILL_STALE");
  const other = { items: ITEMS.slice(1), key: "one" };
  expect((await refusal(setItems(b!, first, other))).reason).toBe("IDEMPOTENCY_KEY_REUSED");
});

test("a caller that stops reading resumes from there", async () => {
  const some = await setItems(a!, first, { read: 2 });
  expect(names(some.messages)).toEqual(["products/1", "products/2"]);
  // The first call may continue for a while. The second call gets its saved responses. If the two conflict,
  // the server reports that the call was served, and the test retries it as the jar does.
  const rest = await waitFor("the first call to end", () =>
    setItems(b!, some.waybill!).catch((error) => {
      const { reason, metadata } = readError(error);
      if (reason !== "WAYBILL_STALE" || metadata["served"] !== "true") throw error;
      return undefined;
    }),
  );
  expect(names(rest.messages)).toEqual(["products/3", "products/4", "products/5"]);
  expect(await versions()).toEqual([1, 2, 3, 4, 5, 6]);
});

test("one of several streams from one waybill advances", async () => {
  await gate!.query("BEGIN; LOCK TABLE checkout.anchor IN EXCLUSIVE MODE");
  const calls = ["one", "two", "three"].map((key, index) =>
    setItems(index === 0 ? a! : b!, first, { key }),
  );
  const outcomes = Promise.allSettled(calls);
  // A replica's concurrent advances share one statement (group commit).
  await untilBlocked(watcher!, 2);
  await gate!.query("COMMIT");
  const settled = await outcomes;
  expect(settled.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  for (const [index, { status }] of settled.entries()) {
    if (status === "rejected") expect((await refusal(calls[index]!)).reason).toBe("WAYBILL_STALE");
  }
  expect(await versions()).toEqual([1, 2, 3, 4, 5, 6]);
});

test("a bidirectional stream advances and replays missed responses", async () => {
  async function* requests(from: number, to: number): AsyncGenerator<EditItemsRequest> {
    for (const item of ITEMS.slice(from, to)) yield { item };
  }
  const waybills: string[] = [];
  const sizes: number[] = [];
  for await (const { checkout, waybill } of any.checkout.editItems(requests(0, 3), {
    metadata: metadataOf(first, "edit"),
  })) {
    sizes.push(checkout!.items.length);
    waybills.push(fieldToMetadataValue(waybill)!);
  }
  expect(sizes).toEqual([1, 2, 3]);
  // The client lost all but the first response, and sends only the requests after the last response.
  const again: number[] = [];
  for await (const { checkout } of any.checkout.editItems(requests(3, 5), {
    metadata: metadataOf(waybills[0]!, "edit"),
  })) {
    again.push(checkout!.items.length);
  }
  expect(again).toEqual([2, 3, 4, 5]);
  expect(await versions()).toEqual([1, 2, 3, 4, 5, 6]);
  // Without an idempotency key, two streams of requests are two calls.
  const unnamed = any.checkout.editItems(requests(0, 1), { metadata: metadataOf(first) });
  expect((await refusal(unnamed[Symbol.asyncIterator]().next())).reason).toBe("WAYBILL_STALE");
});

test("a request stream advances once, all or nothing", async () => {
  async function* requests(...products: number[]): AsyncGenerator<UploadItemsRequest> {
    for (const id of products) yield { product: `products/${id}`, quantity: 1 };
  }
  let waybill: string | undefined;
  const upload = (products: number[], from: string, key: string) =>
    any.checkout.uploadItems(requests(...products), {
      metadata: metadataOf(from, key),
      onMetadata: (metadata) => {
        waybill = metadata.get("waybill")[0] as string;
      },
    });
  expect((await refusal(upload([1, 99_999_999], first, "bad"))).reason).toBe("PRODUCT_NOT_FOUND");
  expect(await versions()).toEqual([1]);
  const made = await upload([1, 2, 1], first, "good");
  expect(made.items.map(({ quantity }) => quantity)).toEqual([2, 1]);
  expect(await versions()).toEqual([1, 2]);
  const once = waybill!;
  // A retry after a lost response gets the same response, and adds nothing.
  expect(await upload([1, 2, 1], first, "good")).toEqual(made);
  expect(await basket(any, waybill!)).toEqual(await basket(any, once));
  expect(await versions()).toEqual([1, 2]);
});

// The tests below kill replicas: `a` and `b` are clients of the original two.

/** Waits until two replicas serve, one of them the successor of the killed one. */
const untilReplaced = (killed: number) =>
  expect
    .poll(() => cluster.status().replicas.filter(({ pid }) => pid !== killed).length, {
      timeout: 30_000,
    })
    .toBe(2);

/** Process id of the replica that made the newest advance. */
async function lastToAdvance(): Promise<number> {
  const { rows } = await watcher!.query<{ replica: string }>(
    "SELECT replica FROM checkout.advance ORDER BY created_at DESC LIMIT 1",
  );
  return Number(rows[0]!.replica.split("/")[1]);
}

/** Error of a call whose replica was killed. */
const LOST = expect.objectContaining({
  code: expect.toBeOneOf([status.INTERNAL, status.UNAVAILABLE]),
});

test("a bidirectional stream replays missed responses after a kill", async () => {
  const more = Promise.withResolvers<void>();
  const over = Promise.withResolvers<void>();
  async function* requests(): AsyncGenerator<EditItemsRequest> {
    yield { item: ITEMS[0]! };
    await more.promise;
    yield { item: ITEMS[1]! };
    await over.promise;
  }
  const metadata = metadataOf(first, "edit");
  const answers = any.checkout.editItems(requests(), { metadata })[Symbol.asyncIterator]();
  const { value } = await answers.next();
  const seen = fieldToMetadataValue((value as EditItemsResponse).waybill)!;

  // A lock delays the second advance until its replica is killed: it commits, but its response is lost.
  await gate!.query("BEGIN; LOCK TABLE checkout.advance IN EXCLUSIVE MODE");
  more.resolve();
  await untilBlocked(watcher!, 1);
  const victim = await lastToAdvance();
  process.kill(victim, "SIGKILL");
  await expect(answers.next()).rejects.toEqual(LOST);
  over.resolve();
  await gate!.query("COMMIT");
  await expect.poll(versions).toEqual([1, 2, 3]);

  async function* rest(): AsyncGenerator<EditItemsRequest> {
    for (const item of ITEMS.slice(2)) yield { item };
  }
  const baskets: number[][] = [];
  let newest = seen;
  for await (const { checkout, waybill } of any.checkout.editItems(rest(), {
    metadata: metadataOf(seen, "edit"),
  })) {
    baskets.push(checkout!.items.map(({ quantity }) => quantity));
    newest = fieldToMetadataValue(waybill)!;
  }
  expect(baskets).toEqual([
    [1, 2],
    [1, 2, 3],
    [1, 2, 3, 4],
    [1, 2, 3, 4, 5],
  ]);
  expect(await versions()).toEqual([1, 2, 3, 4, 5, 6]);
  expect(await basket(any, newest)).toEqual(ITEMS);
  await untilReplaced(victim);
});

/** A product that no replica has cached, because no call has read it. */
const COLD = "products/901";

test.each([
  // The replica is still waiting for its first item's price: nothing is committed.
  ["while it lasts", "catalog.product", "ACCESS EXCLUSIVE", [1]],
  // Its only step commits, but the response is lost.
  ["at its end", "checkout.advance", "EXCLUSIVE", [1, 2]],
])("an upload retried after a kill %s happens once", async (_, table, mode, made) => {
  const over = Promise.withResolvers<void>();
  async function* requests(isWhole: boolean): AsyncGenerator<UploadItemsRequest> {
    yield { product: COLD, quantity: 1 };
    if (!isWhole) await over.promise;
    yield { product: "products/2", quantity: 1 };
    yield { product: COLD, quantity: 1 };
  }
  // It lands where there is no other; the other one is there when it is made again.
  const [victim] = (await cluster.scale(1)).replicas;
  await gate!.query(`BEGIN; LOCK TABLE ${table} IN ${mode} MODE`);
  const metadata = metadataOf(first, "upload");
  const isCutShort = made.length === 1;
  const lost = any.checkout.uploadItems(requests(!isCutShort), { metadata });
  const failed = expect(lost).rejects.toEqual(LOST);
  await untilBlocked(watcher!, 1);
  await cluster.scale(2);
  process.kill(victim!.pid, "SIGKILL");
  await failed;
  over.resolve();
  await gate!.query("COMMIT");
  await expect.poll(versions).toEqual(made);

  let waybill: string | undefined;
  const again = await any.checkout.uploadItems(requests(true), {
    metadata: metadataOf(first, "upload"),
    onMetadata: (reply) => {
      waybill = reply.get("waybill").at(-1)?.toString();
    },
  });
  expect(again.items.map(({ quantity }) => quantity)).toEqual([2, 1]);
  expect(await versions()).toEqual([1, 2]);
  expect(await basket(any, waybill!)).toEqual([
    { product: COLD, quantity: 2 },
    { product: "products/2", quantity: 1 },
  ]);
  await untilReplaced(victim!.pid);
});

test("the jar reopens a killed stream, each message once", async () => {
  const clients = makeClients(cluster.target);
  await clients.checkout.beginCheckout({});
  const messages: SetItemsResponse[] = [];
  for await (const message of clients.checkout.setItems({ items: ITEMS })) {
    messages.push(message);
    if (messages.length !== 1) continue;
    // A lock delays the next advance until its replica is killed: the response is lost.
    await gate!.query("BEGIN; LOCK TABLE checkout.advance IN EXCLUSIVE MODE");
    await untilBlocked(watcher!, 1);
    process.kill(await lastToAdvance(), "SIGKILL");
    await gate!.query("COMMIT");
  }
  expect(names(messages)).toEqual(names(ITEMS.map((item) => ({ item }))));
  // The jar handles the waybills.
  expect(messages.every(({ waybill }) => waybill === undefined)).toBe(true);
  const { items } = await clients.checkout.getCheckout({});
  expect(items.map(({ product, quantity }) => ({ product, quantity }))).toEqual(ITEMS);
  clients.close();
});
