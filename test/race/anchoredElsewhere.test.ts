import { join } from "node:path";
import { Metadata } from "@grpc/grpc-js";
import type { Client as PgClient } from "pg";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import {
  type Checkout,
  CheckoutServiceService,
  type SetItemsResponse,
} from "#proto/waybill/checkout/v1/checkout.ts";
import { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { AnchorServiceService, Outcome } from "#proto/waybill/session/v1/anchors.ts";
import { Anchors } from "#shared/anchors/anchors.ts";
import { RemoteAnchors } from "#shared/anchors/remote/remoteAnchors.ts";
import { RemoteDirectory } from "#shared/anchors/remote/remoteDirectory.ts";
import { SavedResponses, savedAudience } from "#shared/anchors/savedResponses.ts";
import { Assertions } from "#shared/auth/assertions.ts";
import { type Credentials, loadCredentials } from "#shared/auth/credentials/credentials.ts";
import type { AccessToken } from "#shared/auth/tokens/claims.ts";
import { createClient, type ServiceClient } from "#shared/client/client.ts";
import type { Contract } from "#shared/contract/contract.ts";
import type { Context, Handlers } from "#shared/contract/handlers.ts";
import { createPool } from "#shared/pg/pool.ts";
import { fixedRing, type RingSource } from "#shared/rings/ring.ts";
import { RingWatcher } from "#shared/rings/ringWatcher.ts";
import { uuidFromBytes, uuidToBytes } from "#shared/runtime/uuid.ts";
import { Server } from "#shared/server/server.ts";
import { fromCompact, toCompact } from "#shared/waybill/jwe.ts";
import { Sessions } from "#shared/waybill/sessions.ts";
import { type LossyProxy, startLossyProxy } from "../lab/fleet/lossyProxy.ts";
import { contract } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { connect, untilBlocked } from "../support/gate.ts";
import { refusal } from "../support/refusal.ts";
import { makeRingSource } from "../support/rings.ts";
import { step } from "../support/step.ts";

// A program with sessions, but without Postgres; its credential is that of the cluster's catalog.
const AUDIENCE = "catalog";
const BEGIN = "/waybill.checkout.v1.CheckoutService/BeginCheckout";
const session = {
  ...contract.method(BEGIN).session!,
  audience: AUDIENCE,
  mode: "anchored",
  anchor: "session",
} as const;
const elsewhere: Contract = {
  ...contract,
  method(path) {
    const method = contract.method(path);
    return method.session === undefined ? method : { ...method, session };
  },
};
const savedResponses = new SavedResponses(AUDIENCE, makeRingSource(savedAudience(AUDIENCE)));

/** The caller of each call with a token. */
const ADA = { subject: "users/ada", client: "app", epoch: 1 } as AccessToken;

type All = Handlers<typeof CheckoutServiceService, CheckoutState>;
type Client = ServiceClient<typeof CheckoutServiceService>;

let cluster: TestCluster;
let credentials: Credentials;
let ring: RingSource;
let sessions: Sessions<CheckoutState>;
let proxy: LossyProxy;
let loses = false;
let [gate, watcher]: PgClient[] = [];
let [a, b]: Client[] = [];
const releases: (() => unknown)[] = [];
let runs = 0;
let causes: unknown[] = [];

const view = (order: string): Checkout => ({
  items: [],
  address: undefined,
  deliverySpeed: 0,
  quote: undefined,
  order,
});

const handlers: Partial<All> = {
  beginCheckout: async () => view(""),
  addItem: async ({ product }, { session: { state } }) => {
    runs += 1;
    state.order += product.slice("products/".length);
    return view(state.order);
  },
  getCheckout: async (_request, { session: { state } }) => view(state.order),
  placeOrder: async (_request, context) => {
    await context.transaction();
    throw new Error("it has a transaction");
  },
  endCheckout: async () => ({}),
  bindCheckout: async (_request, { session: { state } }) => view(state.order),
  async *setItems({ items }, context: Context<CheckoutState>) {
    for (const item of items) {
      const { state } = context.session;
      if (state.order.includes(`${item.quantity}`)) continue;
      state.order += `${item.quantity}`;
      yield await context.advance({ item, waybill: undefined });
    }
  },
};

/** Starts a replica of the program. @param target of the session service */
async function serve(target: string, name: string): Promise<Client> {
  const log = {
    error: ({ err }: { err: unknown }) => causes.push(err),
    warn() {},
    info() {},
    debug() {},
  };
  const server = new Server({ contract: elsewhere, log: log as never });
  server.checkTokens({
    canCheck: () => true,
    caller: async ({ metadata }) =>
      metadata.get("authorization").length > 0 ? { token: ADA } : undefined,
  });
  const own = new Assertions(credentials, AUDIENCE);
  const anchors = new RemoteAnchors(target, { contract }, own, name);
  const directory = new RemoteDirectory(target, { contract }, own);
  const every = new Proxy(handlers, {
    get: (all, key) => all[key as keyof All] ?? (() => Promise.reject(new Error("unused"))),
  }) as All;
  const anchorage = { anchors, savedResponses, directory };
  server.add(CheckoutServiceService, every, { state: CheckoutState, ring, anchorage });
  const client = createClient(
    CheckoutServiceService,
    `127.0.0.1:${await server.listen("127.0.0.1:0")}`,
  );
  releases.push(
    () => client.close(),
    () => server.drain(),
    () => anchors.close(),
    () => directory.close(),
  );
  return client;
}

beforeAll(async () => {
  cluster = await startTestCluster();
  credentials = loadCredentials(join(cluster.dataDir, "secrets", "credentials"));
  [gate, watcher] = await Promise.all([connect(cluster.databaseUrl), connect(cluster.databaseUrl)]);
  const [first, second] = cluster.status().replicas;
  const keys = new RingWatcher({
    target: first!.address,
    service: AUDIENCE,
    audience: AUDIENCE,
    credentials,
  });
  await keys.ready;
  ring = fixedRing(keys.current()!);
  sessions = new Sessions(session, CheckoutState, ring);
  await keys.close();
  proxy = await startLossyProxy(second!.address, () => {
    const isLost = loses;
    loses = false;
    return isLost;
  });
  a = await serve(first!.address, "program/a");
  b = await serve(proxy.target, "program/b");
});
afterAll(async () => {
  for (const release of releases) await release();
  await proxy?.close();
  await Promise.all([gate?.end(), watcher?.end()]);
  await cluster?.remove();
});

let first: string;
beforeEach(async () => {
  causes = [];
  first = (await step(a!.beginCheckout, {})).waybill!;
  runs = 0;
});

const add = (client: Client, id: number, waybill: string, key?: string) =>
  step(
    client.addItem,
    { product: `products/${id}` },
    { waybill, ...(key === undefined ? {} : { key }) },
  );
const newest = async () =>
  (await watcher!.query("SELECT * FROM session.anchor ORDER BY session_id DESC LIMIT 1")).rows[0];

test("any replica refuses and logs an older waybill", async () => {
  const { waybill } = await add(a!, 1, first);
  await add(b!, 2, waybill!);
  expect(await refusal(add(b!, 3, first))).toMatchObject({
    reason: "WAYBILL_STALE",
    metadata: { served: "false", newest: "3" },
  });
  const { session_id: id, service, version } = await newest();
  expect([service, version]).toEqual(["catalog", 3]);
  const { rows } = await watcher!.query(
    "SELECT replica FROM session.advance WHERE session_id = $1 ORDER BY version",
    [id],
  );
  expect(rows.map(({ replica }) => replica)).toEqual(["program/a", "program/a", "program/b"]);
});

test("inspect reports genuine waybills and a thief's forks", async () => {
  const opened = await sessions.open(fromCompact(first)!);
  const forged = toCompact(
    sessions.seal(sessions.successor(opened, sessions.encode(opened.state))),
  );
  const { waybill: second } = await add(a!, 1, first);
  const findings = await cluster.inspect(AUDIENCE, [first, second!, forged], "session");
  const lines = findings.trim().split("\n");
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([
    { verdict: "genuine", version: 1, newest: 2, ended: false, replica: "program/a" },
    { verdict: "genuine", version: 2, newest: 2 },
    { verdict: "fork", version: 2, newest: 2 },
  ]);
});

test("one of several concurrent calls advances", async () => {
  await gate!.query("BEGIN; LOCK TABLE session.anchor IN EXCLUSIVE MODE");
  const calls = [1, 2, 3, 4, 5, 6].map((id) => add(id % 2 ? a! : b!, id, first, `key-${id}`));
  const settled = Promise.allSettled(calls);
  await untilBlocked(watcher!, 2);
  await gate!.query("COMMIT");
  const outcomes = (await settled).map(({ status }) => status);
  expect(outcomes.filter((status) => status === "fulfilled")).toHaveLength(1);
  for (const [index, status] of outcomes.entries()) {
    if (status === "rejected") expect((await refusal(calls[index]!)).reason).toBe("WAYBILL_STALE");
  }
  expect((await newest()).version).toBe(2);
});

test("a retry gets its saved response, others an error", async () => {
  const made = await add(a!, 1, first, "the-key");
  const again = await add(b!, 1, first, "the-key");
  expect(again.response).toEqual(made.response);
  expect((await add(a!, 2, again.waybill!)).response.order).toBe("12");
  expect((await refusal(add(b!, 1, first, "the-key"))).metadata["served"]).toBe("true");
  const waybill = (await step(a!.beginCheckout, {})).waybill!;
  await add(a!, 1, waybill, "the-key");
  expect((await refusal(add(b!, 2, waybill, "the-key"))).reason).toBe("IDEMPOTENCY_KEY_REUSED");
});

test("finds an advance whose response was lost", async () => {
  await add(b!, 1, first);
  const waybill = (await step(b!.beginCheckout, {})).waybill!;
  runs = 0;
  loses = true;
  const { response } = await add(b!, 7, waybill);
  expect(proxy.lost()).toBe(1);
  expect([response.order, runs, (await newest()).version]).toEqual(["7", 1, 2]);
});

test("is UNAVAILABLE while the session service is unavailable", async () => {
  const away = await serve("127.0.0.1:1", "program/away");
  expect((await refusal(step(away.beginCheckout, {}))).reason).toBe("SESSIONS_UNAVAILABLE");
  expect((await refusal(add(away, 1, first))).reason).toBe("SESSIONS_UNAVAILABLE");
  // Reads do not contact the session service.
  expect((await step(away.getCheckout, {}, { waybill: first })).response.order).toBe("");
  expect((await add(a!, 1, first)).response.order).toBe("1");
});

test("an ended session stays ended", async () => {
  await step(b!.endCheckout, {}, { waybill: first });
  expect((await refusal(add(a!, 1, first))).reason).toBe("WAYBILL_ENDED");
});

test("binding replaces a session by a listed one", async () => {
  const { waybill } = await add(a!, 1, first);
  const bound = await step(b!.bindCheckout, {}, { waybill, token: "hers", key: "bind" });
  expect(bound.response.order).toBe("1");
  const token = "hers";
  const { response } = await step(
    a!.addItem,
    { product: "products/2" },
    { waybill: bound.waybill, token },
  );
  expect(response.order).toBe("12");
  expect((await refusal(add(a!, 3, waybill!))).reason).toBe("WAYBILL_ENDED");
  // The retry gets the saved response, although the new session has advanced: with its first waybill.
  const again = await step(a!.bindCheckout, {}, { waybill, token, key: "bind" });
  expect(again.response.order).toBe("1");
  const { rows } = await watcher!.query(
    "SELECT session_id FROM session.directory WHERE subject = 'users/ada' AND audience = 'catalog'",
  );
  expect(rows.map(({ session_id: id }) => id)).toContain((await newest()).session_id);
});

test("a broken stream resumes after the caller's last waybill", async () => {
  const items = [1, 2, 3].map((quantity) => ({ product: `products/${quantity}`, quantity }));
  const metadata = new Metadata();
  metadata.set("waybill", first);
  metadata.set("idempotency-key", "stream");
  const run = async (client: Client) => {
    const heard: SetItemsResponse[] = [];
    for await (const message of client.setItems({ items }, { metadata })) heard.push(message);
    return heard.map(({ item }) => item!.quantity);
  };
  expect(await run(a!)).toEqual([1, 2, 3]);
  expect(await run(b!)).toEqual([1, 2, 3]);
  expect((await newest()).version).toBe(4);
});

test("a handler is refused a transaction with an explanation", async () => {
  const report = await refusal(step(a!.placeOrder, {}, { waybill: first }));
  expect(report.reason).toBe("INTERNAL");
  expect(String(causes[0])).toMatch("the sessions are anchored at the session service");
  expect((await newest()).version).toBe(1);
});

test("E8 a service reaches only its own sessions", async () => {
  await add(a!, 1, first);
  const { session_id: id, head, version } = await newest();
  const client = createClient(AnchorServiceService, cluster.status().replicas[0]!.address);
  const as = async (service: string, method: { path: string }) => ({
    metadata: await new Assertions(credentials, service).to(method),
  });
  const { getAnchor, getAdvance, advanceAnchors, listSavedResponses } = AnchorServiceService;
  const sessionId = uuidToBytes(id);
  for (const [service, isItsOwn] of [
    ["catalog", true],
    ["checkout", false],
  ] as const) {
    const { anchor } = await client.getAnchor({ sessionId }, await as(service, getAnchor));
    expect(anchor !== undefined).toBe(isItsOwn);
    const line = await client.getAdvance({ sessionId, version }, await as(service, getAdvance));
    expect(line.call.length > 0).toBe(isItsOwn);
  }
  const kept = { sessionId, version: 0, limit: 10 };
  const none = await client.listSavedResponses(kept, await as("checkout", listSavedResponses));
  expect(none.answers).toEqual([]);
  const bytes = Buffer.alloc(32);
  const move = {
    ...{ sessionId, version, head, nextHead: bytes, digest: bytes, parent: bytes, call: bytes },
    ...{ answer: bytes, ended: true, kept: false },
  };
  const moves = { replica: "thief", moves: [move] };
  const stolen = await client.advanceAnchors(moves, await as("checkout", advanceAnchors));
  expect(stolen.outcomes).toEqual([Outcome.OUTCOME_ELSEWHERE]);
  expect((await newest()).ended).toBe(false);
  const own = await client.advanceAnchors(moves, await as("catalog", advanceAnchors));
  expect(own.outcomes).toEqual([Outcome.OUTCOME_DONE]);
  client.close();
  // The front proxy does not route there either.
  const outside = createClient(AnchorServiceService, cluster.target);
  await expect(outside.getAnchor({ sessionId }, await as("catalog", getAnchor))).rejects.toThrow(
    "UNIMPLEMENTED",
  );
  outside.close();
});

test("responses too large for one message are sent singly", async () => {
  const own = new Assertions(credentials, AUDIENCE);
  const target = cluster.status().replicas[0]!.address;
  const anchors = new RemoteAnchors(target, { contract }, own, "program/d");
  const begun = Array.from({ length: 4 }, () => {
    const { sessionId, digest } = sessions.successor(sessions.begin(), Buffer.alloc(0));
    const savedResponse = Buffer.alloc(900_000, 1);
    return { sessionId: uuidFromBytes(sessionId), digest, savedResponse, expiresAt: Date.now() };
  });
  await Promise.all(begun.map((each) => anchors.create(each)));
  for (const { sessionId, savedResponse } of begun) {
    expect((await anchors.read(sessionId))?.answer.equals(savedResponse)).toBe(true);
  }
  anchors.close();
});

test("one invalid begin in a group fails alone", async () => {
  const own = new Assertions(credentials, AUDIENCE);
  const target = cluster.status().replicas[0]!.address;
  const anchors = new RemoteAnchors(target, { contract }, own, "program/c");
  const made = () => {
    const next = sessions.successor(sessions.begin(), Buffer.alloc(0));
    return {
      sessionId: uuidFromBytes(next.sessionId),
      digest: next.digest,
      savedResponse: Buffer.alloc(9),
      expiresAt: Date.now(),
    };
  };
  const [twice, once] = [made(), made()];
  await anchors.create(twice);
  const [again, other] = await Promise.allSettled([anchors.create(twice), anchors.create(once)]);
  expect(again).toMatchObject({ reason: { reason: "SESSIONS_UNAVAILABLE" } });
  expect(other.status).toBe("fulfilled");
  expect((await anchors.read(once.sessionId))?.version).toBe(1);
  anchors.close();
});

test("refuses to begin a session that outlives its anchor", async () => {
  const own = new Assertions(credentials, AUDIENCE);
  const anchors = new RemoteAnchors(cluster.status().replicas[0]!.address, {}, own, "program/e");
  const dayS = 24 * 3600;
  const { sessionId, digest } = sessions.successor(sessions.begin(), Buffer.alloc(0));
  const begin = (seconds: number) =>
    anchors.create({
      ...{ sessionId: uuidFromBytes(sessionId), digest, savedResponse: Buffer.alloc(9) },
      expiresAt: Date.now() + seconds * 1000,
    });
  expect(await refusal(begin(2 * dayS))).toMatchObject({
    reason: "SESSION_TOO_LONG",
    metadata: { longestS: `${dayS + 120}` },
  });
  await begin(dayS);
  anchors.close();
});

test("violations of the contract are named at startup", () => {
  const pool = createPool(cluster.databaseUrl, { max: 1, name: "none" });
  const all = handlers as All;
  const parts = { state: CheckoutState, ring };
  const add = (server: Server, anchors: Anchors | RemoteAnchors) => () =>
    server.add(CheckoutServiceService, all, { ...parts, anchorage: { anchors, savedResponses } });
  const local = new Anchors(pool, "checkout", "r");
  const own = new Assertions(credentials, AUDIENCE);
  const remote = new RemoteAnchors("127.0.0.1:1", {}, own, "r");
  expect(add(new Server({ contract: elsewhere }), local)).toThrow("give RemoteAnchors");
  expect(add(new Server({ contract }), remote)).toThrow("give Anchors");
  remote.close();
});
