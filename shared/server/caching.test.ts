import { Metadata } from "@grpc/grpc-js";
import { afterEach, expect, test, vi } from "vitest";
import { CatalogServiceService, Product } from "../../proto/gen/waybill/catalog/v1/catalog.ts";
import { Access } from "../../proto/gen/waybill/options/v1/options.ts";
import { contract } from "../../test/support/clients.ts";
import { refusal } from "../../test/support/refusal.ts";
import { REST_OF_CATALOG } from "../../test/support/servers/catalogHandlers.ts";
import type { AccessToken } from "../auth/tokens/claims.ts";
import { ResponseCache } from "../cache/responseCache.ts";
import { type CallSettings, createClient, type ServiceClient } from "../client/client.ts";
import type { Contract, MethodContract } from "../contract/contract.ts";
import type { Context } from "../contract/handlers.ts";
import { Errors } from "../errors.ts";
import { resourcesIn } from "./caching.ts";
import { Server, type ServerOptions } from "./server.ts";

const SERVICE = "waybill.catalog.v1.CatalogService";
const NAME = "products/1";

let server: Server;
let catalog: ServiceClient<typeof CatalogServiceService>;
let cache: ResponseCache;
/** The contexts of the handler's calls, and its response. */
let received: Context[];
let answer: (context: Context) => Promise<Product>;
let clock: number;

async function serve(changes: Partial<MethodContract> = {}, options: Partial<ServerOptions> = {}) {
  clock = 0;
  received = [];
  answer = async () => Product.create({ name: NAME, title: `answer ${received.length}` });
  cache = new ResponseCache({
    maxBytes: 1_000_000,
    clocks: { wall: () => clock, monotonic: () => clock },
  });
  const method: Contract["method"] = (path) => ({ ...contract.method(path), ...changes });
  server = new Server({ contract: { ...contract, method }, ...options }).add(
    CatalogServiceService,
    {
      getProduct: (_request, context) => {
        received.push(context as Context);
        return answer(context as Context);
      },
      ...REST_OF_CATALOG,
    },
    undefined,
    cache,
  );
  const target = `127.0.0.1:${await server.listen("127.0.0.1:0")}`;
  catalog = createClient(CatalogServiceService, target);
}
afterEach(async () => {
  vi.useRealTimers();
  catalog?.close();
  await server?.drain();
});

/** Makes a call. Returns the response's title and metadata. */
async function get(sent: Record<string, string> = {}, settings: CallSettings = {}, name = NAME) {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(sent)) metadata.set(key, value);
  let reply: Record<string, unknown> = {};
  const onMetadata = (received: Metadata) => {
    reply = received.getMap();
  };
  const { title } = await catalog.getProduct({ name }, { metadata, onMetadata, ...settings });
  return { title, reply };
}
const titles = async (...calls: Parameters<typeof get>[]) => {
  const found: string[] = [];
  for (const call of calls) found.push((await get(...call)).title);
  return found;
};

test("serves a cached response with its age, without the handler", async () => {
  await serve();
  const first = await get();
  expect(first.reply["age"]).toBeUndefined();
  clock = 59_999;
  const second = await get();
  expect(second.title).toBe("answer 1");
  expect(second.reply).toMatchObject({
    age: "59",
    etag: first.reply["etag"],
    "cache-control": "public, max-age=60, stale-while-revalidate=300",
  });
  expect(received).toHaveLength(1);
  expect(cache.stats).toMatchObject({ hits: 1, misses: 1 });
});

test("sends an empty message if the client's ETag matches", async () => {
  await serve();
  const { reply } = await get();
  const again = await get({ "if-none-match": `"x", ${reply["etag"]}` });
  expect(again).toMatchObject({ title: "", reply: { "not-modified": "1", etag: reply["etag"] } });
  expect((await get({ "if-none-match": '"x"' })).title).toBe("answer 1");
  expect(received).toHaveLength(1);
});

test("no-cache refreshes the cached response; no-store caches nothing", async () => {
  await serve();
  const found = await titles([{}], [{ "cache-control": "No-Cache" }], [{}]);
  expect(found).toEqual(["answer 1", "answer 2", "answer 2"]);
  const other = { "cache-control": "no-store" };
  expect(await titles([other, {}, "products/2"], [{}, {}, "products/2"])).toEqual([
    "answer 3",
    "answer 4",
  ]);
});

test("does not cache errors", async () => {
  await serve();
  for (let call = 0; call < 2; call += 1) {
    expect((await refusal(catalog.getProduct({ name: "films/1" }))).reason).toBe("INVALID_FIELD");
  }
  answer = async () => {
    throw Errors.CONFLICT();
  };
  for (let call = 0; call < 2; call += 1) {
    expect((await refusal(catalog.getProduct({ name: NAME }))).reason).toBe("CONFLICT");
  }
  expect(received).toHaveLength(2);
  expect(cache.stats.entries).toBe(0);
});

test("does not share a response with metadata of its own", async () => {
  await serve();
  answer = async ({ reply }) => {
    reply.set("waybill", `w${received.length}`);
    return Product.create({ title: `answer ${received.length}` });
  };
  const both = await Promise.all([get(), get()]);
  expect(both.map(({ title }) => title).sort()).toEqual(["answer 1", "answer 2"]);
  for (const { title, reply } of both) expect(reply["waybill"]).toBe(title.replace("answer ", "w"));
  expect(cache.stats.entries).toBe(0);
});

test("does not share a response whose caching headers the handler set", async () => {
  await serve();
  for (const [key, value] of [
    ["cache-control", "private"],
    ["etag", '"own"'],
    ["vary", "lang"],
  ] as const) {
    answer = async ({ reply }) => {
      reply.set(key, value);
      return Product.create({ title: `answer ${received.length}` });
    };
    const [one, two] = [await get(), await get()];
    expect(one.title).not.toBe(two.title);
    expect(two.reply["cache-control"]).toBe("no-store");
  }
  expect(cache.stats.entries).toBe(0);
});

test("varies by declared metadata, and hides the rest from the handler", async () => {
  await serve({ cache: { ...contract.method(`/${SERVICE}/GetProduct`).cache!, vary: ["lang"] } });
  const found = await titles(
    [{ lang: "en" }],
    [{ lang: "de" }],
    [{ lang: "en", other: "x" }],
    [{}],
  );
  expect(found).toEqual(["answer 1", "answer 2", "answer 1", "answer 3"]);
  expect(await titles([{ other: "y" }])).toEqual(["answer 3"]);
  expect((await get({ lang: "en" })).reply["vary"]).toBe("lang");
  for (const { metadata, origin } of received) {
    expect(Object.keys(metadata.getMap()).filter((key) => key !== "lang")).toEqual([]);
    expect(origin.address).toBe("");
  }
});

test("finds no resources in empty names and wildcards", () => {
  const of = (name: string | string[] | undefined) => resourcesIn({ name }, "name");
  expect(of("products/1")).toEqual(["products/1"]);
  expect(of(["products/1", "a/b-c"])).toEqual(["products/1", "a/b-c"]);
  for (const name of ["", [], undefined, "products/-", ["products/1", ""], "shops/-/products/1"]) {
    expect(of(name)).toBeUndefined();
  }
});

/** Treats each token as its caller's name, unverified. */
const tokens: ServerOptions["tokens"] = {
  canCheck: () => true,
  async caller({ metadata }) {
    const [jwt] = metadata.get("authorization");
    if (jwt === undefined) return undefined;
    return { jwt: `${jwt}`, token: { subject: `${jwt}` } as AccessToken };
  },
};

test("caches a private response for its own caller only", async () => {
  const own = { ...contract.method(`/${SERVICE}/GetProduct`).cache!, public: false };
  await serve({ cache: own, access: Access.ACCESS_AUTHENTICATED }, { tokens });
  answer = async ({ token }) => Product.create({ title: `${token.subject} ${received.length}` });
  const [ada, bob] = [{ authorization: "ada" }, { authorization: "bob" }];
  expect(await titles([ada], [bob], [ada], [bob])).toEqual(["ada 1", "bob 2", "ada 1", "bob 2"]);
  // Concurrent calls.
  const both = await Promise.all([get(ada, {}, "products/2"), get(bob, {}, "products/2")]);
  expect(both.map(({ title }) => title.split(" ")[0])).toEqual(["ada", "bob"]);
  // A caller without access gets no cached response.
  expect((await refusal(get())).reason).toBe("CREDENTIAL_INVALID");
});

test("does not cache a private response for an unknown caller", async () => {
  await serve({ cache: { ...contract.method(`/${SERVICE}/GetProduct`).cache!, public: false } });
  expect(await titles([{}], [{}])).toEqual(["answer 1", "answer 2"]);
});

test("fetches again for a newer change than the cached one", async () => {
  await serve();
  const scope = cache.scope(SERVICE);
  expect((await get()).reply["change"]).toBeUndefined();
  scope.apply(3n, [{ number: 3n, resources: ["products/2"] }]);
  expect(await get({ change: "3" })).toMatchObject({ title: "answer 1", reply: { change: "3" } });
  expect(await titles([{ change: "4" }], [{ change: "x" }])).toEqual(["answer 2", "answer 3"]);
  scope.apply(4n, [{ number: 4n, resources: [NAME] }]);
  expect(await get()).toMatchObject({ title: "answer 4", reply: { change: "4" } });
});

test("a call that gives up a shared fetch frees its place", async () => {
  // A place for the first call, and one for the second.
  await serve({}, { maxCalls: 2 });
  const gate = Promise.withResolvers<void>();
  answer = async () => {
    if (received.length === 1) await gate.promise;
    return Product.create({ title: `answer ${received.length}` });
  };
  const first = get();
  await expect.poll(() => received.length).toBe(1);
  await refusal(get({}, { timeoutMs: 100 }));
  await expect.poll(() => get({}, {}, "products/2").then(({ title }) => title)).toBe("answer 2");
  gate.resolve();
  expect((await first).title).toMatch("answer");
});

test("a cancelled refresh of a stale response frees its place", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  await serve({}, { maxCalls: 2 });
  await get();
  clock = 60_000;
  answer = () => new Promise(() => {});
  expect((await get()).title).toBe("answer 1");
  await vi.waitUntil(() => received.length === 2);
  vi.advanceTimersByTime(30_000);
  const gate = Promise.withResolvers<void>();
  answer = async () => {
    await gate.promise;
    return Product.create({ title: "new" });
  };
  // These calls take both places.
  const both = ["products/2", "products/3"].map((name) => get({}, { timeoutMs: 60_000 }, name));
  await vi.waitUntil(() => received.length === 4);
  gate.resolve();
  for (const { title } of await Promise.all(both)) expect(title).toBe("new");
});

test("the last call that gives up cancels the shared fetch", async () => {
  await serve();
  const gate = Promise.withResolvers<void>();
  const started = Promise.withResolvers<void>();
  answer = async () => {
    started.resolve();
    await gate.promise;
    return Product.create({ title: "for all" });
  };
  const impatient = new AbortController();
  const first = refusal(get({}, { signal: impatient.signal }));
  await started.promise;
  const second = get();
  await expect.poll(() => cache.stats.misses).toBe(2);
  impatient.abort();
  await first;
  expect(received[0]!.signal.aborted).toBe(false);
  gate.resolve();
  expect((await second).title).toBe("for all");
  expect(received).toHaveLength(1);

  const ended = Promise.withResolvers<void>();
  answer = ({ signal }) => {
    signal.addEventListener("abort", () => ended.resolve());
    return new Promise(() => {});
  };
  await refusal(catalog.getProduct({ name: "products/2" }, { timeoutMs: 200 }));
  await ended.promise;
});
