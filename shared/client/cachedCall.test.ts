import { InterceptingCall, type Interceptor, Metadata, status } from "@grpc/grpc-js";
import { afterEach, beforeEach, expect, test } from "vitest";
import { CatalogServiceService, Product } from "../../proto/gen/waybill/catalog/v1/catalog.ts";
import { Access } from "../../proto/gen/waybill/options/v1/options.ts";
import { contract } from "../../test/support/clients.ts";
import { refusal } from "../../test/support/refusal.ts";
import { REST_OF_CATALOG } from "../../test/support/servers/catalogHandlers.ts";
import { ResponseCache } from "../cache/responseCache.ts";
import type { Contract, MethodContract } from "../contract/contract.ts";
import type { Caller, Context } from "../contract/handlers.ts";
import { Server } from "../server/server.ts";
import {
  type CallSettings,
  type ClientOptions,
  createClient,
  type ServiceClient,
} from "./client.ts";

const NAME = "products/1";
const PATH = "/waybill.catalog.v1.CatalogService/GetProduct";
const UPDATE = "/waybill.catalog.v1.CatalogService/UpdateProduct";
const CACHE = contract.method(PATH).cache!;
const PRIVATE = { cache: { ...CACHE, public: false } };

let server: Server;
const clients: ServiceClient<typeof CatalogServiceService>[] = [];
let target: string;
let cache: ResponseCache;
let clock: number;
let asked: Context[];
/** Makes a change, and gives its number. */
let write: () => Promise<string>;
let answer: (context: Context, name: string) => Promise<Product>;

beforeEach(() => {
  clock = 0;
  asked = [];
  answer = async () => Product.create({ title: `answer ${asked.length}` });
  cache = new ResponseCache({ maxBytes: 1_000_000, clocks: { wall, monotonic: wall } });
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await server?.drain();
});
const wall = () => clock;

/** The contract with something else declared of GetProduct; everybody may call UpdateProduct. */
function withMethod(changes: Partial<MethodContract>): Contract {
  const change = (method: MethodContract) => {
    if (method.path === UPDATE) return { ...method, access: Access.ACCESS_PUBLIC };
    return method.path === PATH ? { ...method, ...changes } : method;
  };
  return {
    ...contract,
    method: (path) => change(contract.method(path)),
    find: (path) => change(contract.method(path)),
  };
}

async function serve(changes: Partial<MethodContract> = {}, kept?: ResponseCache) {
  server = new Server({ contract: withMethod(changes) }).add(
    CatalogServiceService,
    {
      getProduct: ({ name }, context) => {
        asked.push(context as Context);
        return answer(context as Context, name);
      },
      ...REST_OF_CATALOG,
      async updateProduct(_request, { reply }) {
        reply.set("change", await write());
        return Product.create();
      },
    },
    undefined,
    kept,
  );
  target = `127.0.0.1:${await server.listen("127.0.0.1:0")}`;
}
function client(changes: Partial<MethodContract> = {}, options: ClientOptions = {}) {
  const made = createClient(CatalogServiceService, target, {
    contract: withMethod(changes),
    cache,
    ...options,
  });
  clients.push(made);
  return made;
}

/** Calls with metadata. @returns the title and the reply's metadata */
async function get(
  from: ServiceClient<typeof CatalogServiceService>,
  sent: Record<string, string> = {},
  settings: CallSettings = {},
) {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(sent)) metadata.set(key, value);
  let reply: Record<string, unknown> = {};
  const onMetadata = (received: Metadata) => {
    reply = received.getMap();
  };
  const { title } = await from.getProduct({ name: NAME }, { metadata, onMetadata, ...settings });
  return { title, reply };
}

test("an answer is used for its max-age, and each is a message of its own", async () => {
  await serve();
  const one = client();
  const first = await one.getProduct({ name: NAME });
  first.title = "changed";
  clock = 59_999;
  const second = await one.getProduct({ name: NAME });
  second.title = "changed";
  const third = await get(one);
  expect(third).toMatchObject({ title: "answer 1", reply: { age: "59", etag: /./ } });
  expect(asked).toHaveLength(1);
});

test("an answer that was old when it came is used for the rest of its time", async () => {
  const kept = new ResponseCache({ maxBytes: 1_000_000, clocks: { wall, monotonic: wall } });
  await serve({ cache: { ...CACHE, staleWhileRevalidate: undefined } }, kept);
  const plain = createClient(CatalogServiceService, target);
  clients.push(plain);
  await plain.getProduct({ name: NAME });
  clock = 40_000;
  const one = client();
  await one.getProduct({ name: NAME });
  clock = 59_000;
  await one.getProduct({ name: NAME });
  expect(asked).toHaveLength(1);
  clock = 60_000;
  expect((await get(one)).title).toBe("answer 2");
});

test("what is stale is validated, and stays the answer when nothing has changed", async () => {
  await serve({ cache: { ...CACHE, staleWhileRevalidate: undefined } });
  answer = async () => Product.create({ title: "same" });
  const one = client();
  const { reply } = await get(one);
  clock = 60_000;
  const again = await get(one);
  expect(again).toMatchObject({ title: "same" });
  expect(again.reply["not-modified"]).toBeUndefined();
  expect(asked[1]!.metadata.get("if-none-match")).toEqual([reply["etag"]]);
  // It counts from then.
  clock = 119_999;
  expect((await get(one)).title).toBe("same");
  expect(asked).toHaveLength(2);
  answer = async () => Product.create({ title: "other" });
  clock = 120_000;
  expect((await get(one)).title).toBe("other");
});

test("while a newer one is fetched the stale one is the answer", async () => {
  await serve();
  const one = client();
  await get(one);
  clock = 60_000;
  expect((await get(one)).title).toBe("answer 1");
  await expect.poll(async () => (await get(one)).title).toBe("answer 2");
  // The one before was validated once.
  expect(asked).toHaveLength(2);
});

test("what must be validated each time is", async () => {
  await serve({ cache: { ...CACHE, maxAge: undefined, staleWhileRevalidate: undefined } });
  answer = async () => Product.create({ title: "same" });
  const one = client({ cache: { ...CACHE, maxAge: undefined, staleWhileRevalidate: undefined } });
  const titles = [(await get(one)).title, (await get(one)).title];
  expect(titles).toEqual(["same", "same"]);
  expect(asked.map(({ metadata }) => metadata.get("if-none-match").length)).toEqual([0, 1]);
});

test("what comes without cache-control, or is declared otherwise by the service, is not kept", async () => {
  await serve({ cache: undefined });
  const one = client();
  expect([(await get(one)).title, (await get(one)).title]).toEqual(["answer 1", "answer 2"]);
  await server.drain();
  for (const changed of [PRIVATE.cache, { ...CACHE, vary: ["lang"] }]) {
    asked = [];
    await serve({ cache: changed });
    const other = client();
    expect([(await get(other)).title, (await get(other)).title]).toEqual(["answer 1", "answer 2"]);
    await server.drain();
  }
});

test("an answer varies by what is declared, and nothing else of a call is sent", async () => {
  const vary = { cache: { ...CACHE, vary: ["lang"] } };
  await serve(vary);
  const one = client(vary);
  const trace = { traceparent: `00-${"1".repeat(32)}-${"1".repeat(16)}-00` };
  await get(one, { lang: "en", "x-own": "secret", authorization: "Bearer x", ...trace });
  const { metadata } = asked[0]!;
  expect(metadata.get("lang")).toEqual(["en"]);
  expect(metadata.get("traceparent")).toHaveLength(1);
  expect([...metadata.get("x-own"), ...metadata.get("authorization")]).toEqual([]);
  expect((await get(one, { lang: "en" })).title).toBe("answer 1");
  expect((await get(one, { lang: "de" })).title).toBe("answer 2");
});

test("what a call varies by is what it was when it was made, however late it is asked for", async () => {
  const vary = { cache: { ...CACHE, vary: ["lang"] } };
  await serve(vary);
  const gate = Promise.withResolvers<void>();
  answer = async ({ metadata, reply }) => {
    await gate.promise;
    // Responses belong to one caller: a caller that waited for another's fetch makes its own.
    if (asked.length === 1) reply.set("x-own", "1");
    return Product.create({ title: `${metadata.get("lang")[0]}` });
  };
  const one = client(vary);
  const first = get(one, { lang: "en" });
  await expect.poll(() => asked.length).toBe(1);
  const metadata = new Metadata();
  metadata.set("lang", "en");
  const second = one.getProduct({ name: NAME }, { metadata });
  metadata.set("lang", "de");
  gate.resolve();
  expect((await first).title).toBe("en");
  expect((await second).title).toBe("en");
});

test("what is not public is one caller's: that of the call, or of authorize", async () => {
  await serve(PRIVATE);
  answer = async ({ metadata }) =>
    Product.create({ title: `${metadata.get("authorization")[0]} ${asked.length}` });
  const titles = async (
    from: ServiceClient<typeof CatalogServiceService>,
    ...callers: string[]
  ) => {
    const found: string[] = [];
    for (const authorization of callers) found.push((await get(from, { authorization })).title);
    return found;
  };
  const one = client(PRIVATE);
  expect(await titles(one, "ada", "bob", "ada")).toEqual(["ada 1", "bob 2", "ada 1"]);
  // Another client's connection may prove another caller.
  expect(await titles(client(PRIVATE), "ada")).toEqual(["ada 3"]);
  // A call without an identity bypasses the cache.
  expect([(await get(one)).title, (await get(one)).title]).toEqual(["undefined 4", "undefined 5"]);

  const authorize = async (_path: string, caller: Caller | undefined) => caller?.jwt;
  const onBehalf = client(PRIVATE, { authorize });
  const as = (jwt: string) => {
    const signal = new AbortController().signal;
    const context = { caller: { jwt }, signal, deadline: Date.now() + 10_000 };
    return { context: { ...context, metadata: new Metadata() } };
  };
  asked = [];
  const found = [];
  for (const jwt of ["ada", "bob", "ada"]) found.push((await get(onBehalf, {}, as(jwt))).title);
  expect(found).toEqual(["ada 1", "bob 2", "ada 1"]);
});

test("a proof goes with its call, which passes the cache by", async () => {
  await serve(PRIVATE);
  const one = client(PRIVATE);
  const sent = { authorization: "DPoP ada", dpop: "proof" };
  expect([(await get(one, sent)).title, (await get(one, sent)).title]).toEqual([
    "answer 1",
    "answer 2",
  ]);
  const authorize = async () => ({ authorization: "DPoP ada", dpop: "proof" });
  const bound = client(PRIVATE, { authorize });
  expect([(await get(bound)).title, (await get(bound)).title]).toEqual(["answer 3", "answer 4"]);
  expect(asked).toHaveLength(4);
  for (const { metadata } of asked) {
    expect(metadata.get("authorization")).toEqual(["DPoP ada"]);
    expect(metadata.get("dpop")).toEqual(["proof"]);
  }
  expect(cache.stats.entries).toBe(0);
});

test("what is not public is not kept where an interceptor may say who calls", async () => {
  await serve(PRIVATE);
  const interceptor: Interceptor = (options, next) => new InterceptingCall(next(options));
  const one = client(PRIVATE, { interceptors: [interceptor] });
  const sent = { authorization: "ada" };
  expect([(await get(one, sent)).title, (await get(one, sent)).title]).toEqual([
    "answer 1",
    "answer 2",
  ]);
  expect(cache.stats.entries).toBe(0);
});

test("what varies is not kept where an interceptor may say by what", async () => {
  const vary = { cache: { ...CACHE, vary: ["lang"] } };
  await serve(vary);
  const lang = ["en", "de"];
  const interceptor: Interceptor = (options, next) =>
    new InterceptingCall(next(options), {
      start(metadata, listener, start) {
        metadata.set("lang", lang.shift()!);
        start(metadata, listener);
      },
    });
  answer = async ({ metadata }) => Product.create({ title: `${metadata.get("lang")[0]}` });
  const one = client(vary, { interceptors: [interceptor] });
  expect([(await get(one)).title, (await get(one)).title]).toEqual(["en", "de"]);
  expect(cache.stats.entries).toBe(0);
});

test("no-cache asks the service and its handler, and keeps what they say; what is done by hand is left alone", async () => {
  await serve({}, new ResponseCache({ maxBytes: 1_000_000 }));
  const one = client();
  await get(one);
  expect((await get(one, { "cache-control": "no-cache" })).title).toBe("answer 2");
  expect((await get(one)).title).toBe("answer 2");
  const { reply } = await get(one);
  const own = await get(one, { "if-none-match": `${reply["etag"]}` });
  expect(own.reply["not-modified"]).toBe("1");
  expect((await get(one, { "cache-control": "no-store" })).title).toBe("answer 3");
  expect((await get(one)).title).toBe("answer 2");
});

test("one fetch answers all who wait; who gives up is told so, and the others are answered", async () => {
  await serve();
  const gate = Promise.withResolvers<void>();
  answer = async () => {
    await gate.promise;
    return Product.create({ title: "for all" });
  };
  const one = client();
  const controller = new AbortController();
  const request = { name: NAME };
  const first = refusal(one.getProduct(request, { signal: controller.signal }));
  const late = refusal(one.getProduct({ name: NAME }, { timeoutMs: 50 }));
  const third = get(one);
  // The caller may change its request afterwards.
  request.name = "products/2";
  controller.abort();
  expect((await first).code).toBe(status.CANCELLED);
  expect((await late).code).toBe(status.DEADLINE_EXCEEDED);
  gate.resolve();
  expect((await third).title).toBe("for all");
  expect(asked).toHaveLength(1);
});

test("the last who gives up ends the call", async () => {
  await serve();
  const ended = Promise.withResolvers<void>();
  answer = ({ signal }) => {
    signal.addEventListener("abort", () => ended.resolve());
    return new Promise(() => {});
  };
  const { code } = await refusal(client().getProduct({ name: NAME }, { timeoutMs: 100 }));
  expect(code).toBe(status.DEADLINE_EXCEEDED);
  await ended.promise;
});

test("what an answer tells of a change, what was kept before is too old for", async () => {
  await serve();
  const one = client();
  await get(one);
  const { name } = { name: "products/2" };
  answer = async ({ reply }) => {
    reply.set("change", "7");
    return Product.create({ title: "told" });
  };
  await one.getProduct({ name });
  answer = async () => Product.create({ title: "new" });
  expect((await get(one)).title).toBe("new");
  expect(asked[2]!.metadata.get("change")).toEqual(["7"]);
  // It is as new as the newest known change.
  await get(one);
  expect(asked).toHaveLength(3);
});

test("a client without a cache tells the service of the newest change that it was told of", async () => {
  await serve({}, new ResponseCache({ maxBytes: 1_000_000 }));
  const bare = client({}, { cache: undefined });
  await get(bare);
  answer = async ({ reply }, name) => {
    if (name !== NAME) reply.set("change", "7");
    return Product.create({ title: "new" });
  };
  await bare.getProduct({ name: "products/2" });
  expect((await get(bare)).title).toBe("new");
  // By hand any other may be named, and another client knows nothing.
  expect((await get(bare, { change: "0" })).title).toBe("new");
  expect((await get(client({}, { cache: undefined }))).reply["age"]).toBeDefined();
  expect(asked).toHaveLength(3);
});

test.each([true, false])(
  "a write whose number has gone back begins anew, with a cache: %s",
  async (hasCache) => {
    await serve();
    const one = client({}, hasCache ? {} : { cache: undefined });
    const change = async (number: string) => {
      write = async () => number;
      await one.updateProduct({ product: Product.create({ name: NAME }), updateMask: ["title"] });
    };
    await change("1000");
    await get(one);
    await change("501");
    expect((await get(one)).title).toBe("answer 2");
    expect(asked[1]!.metadata.get("change")).toEqual(["501"]);
    await change("502");
    await get(one);
    expect(asked[2]!.metadata.get("change")).toEqual(["502"]);
  },
);

test("writes at once that are answered in another order begin nothing anew", async () => {
  await serve();
  const one = client();
  const gates = [Promise.withResolvers<string>(), Promise.withResolvers<string>()];
  const answers = [...gates];
  write = () => answers.shift()!.promise;
  const update = { product: Product.create({ name: NAME }), updateMask: ["title"] };
  const [first, second] = [one.updateProduct(update), one.updateProduct(update)];
  gates[1]!.resolve("6");
  await second;
  gates[0]!.resolve("5");
  await first;
  await get(one);
  expect(asked[0]!.metadata.get("change")).toEqual(["6"]);
});

test("a failure is each caller's, and kept for nobody", async () => {
  await serve();
  answer = async () => {
    throw new Error("no");
  };
  const one = client();
  const failures = await Promise.all([refusal(get(one)), refusal(get(one))]);
  expect(failures.map(({ code }) => code)).toEqual([status.INTERNAL, status.INTERNAL]);
  answer = async () => Product.create({ title: "yes" });
  expect((await get(one)).title).toBe("yes");
});

test("a cache needs the contract", () => {
  expect(() => createClient(CatalogServiceService, "127.0.0.1:1", { cache })).toThrow(
    "needs the contract",
  );
});
