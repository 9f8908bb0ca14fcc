import { once } from "node:events";
import {
  type ChannelOptions,
  Client,
  type ClientReadableStream,
  compressionAlgorithms,
  credentials,
  Metadata,
  makeGenericClientConstructor,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { service as healthService } from "grpc-health-check";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { CatalogServiceService, Product } from "../../proto/gen/waybill/catalog/v1/catalog.ts";
import { KeysServiceService } from "../../proto/gen/waybill/keys/v1/keys.ts";
import { Access } from "../../proto/gen/waybill/options/v1/options.ts";
import { SessionServiceService, SessionState } from "../../proto/gen/waybill/session/v1/session.ts";
import { contract } from "../../test/support/clients.ts";
import { refusal } from "../../test/support/refusal.ts";
import { makeRingSource } from "../../test/support/rings.ts";
import { REST_OF_CATALOG } from "../../test/support/servers/catalogHandlers.ts";
import { REST_OF_KEYS } from "../../test/support/servers/keysHandlers.ts";
import { createClient, type ServiceClient } from "../client/client.ts";
import type { Contract } from "../contract/contract.ts";
import type { Context } from "../contract/handlers.ts";
import { Errors } from "../errors.ts";
import { Server } from "./server.ts";

let server: Server;
let catalog: ServiceClient<typeof CatalogServiceService>;
let target: string;
let answer: (context: Context, name: string) => Promise<Product>;
const HealthClient = makeGenericClientConstructor(healthService, "Health");

async function serve(options: Partial<ConstructorParameters<typeof Server>[0]> = {}) {
  server = new Server({ contract, ...options }).add(CatalogServiceService, {
    getProduct: ({ name }, context) => answer(context, name),
    ...REST_OF_CATALOG,
  });
  target = `127.0.0.1:${await server.listen("127.0.0.1:0")}`;
  server.serving(true);
  catalog = createClient(CatalogServiceService, target);
}

beforeEach(() => {
  answer = async () => Product.create({ name: "products/1" });
});
afterEach(async () => {
  catalog?.close();
  await server?.drain();
});

const getProduct = () => catalog.getProduct({ name: "products/1" });

/** The contract with the given access for every method. */
function withAccess(access: Access): Contract {
  return { ...contract, method: (path) => ({ ...contract.method(path), access }) };
}

test("E4 every method declares its access", () => {
  expect(contract.methods.length).toBeGreaterThan(20);
  for (const { path, access } of contract.methods.filter((each) => each.path.includes("waybill"))) {
    const known = [Access.ACCESS_PUBLIC, Access.ACCESS_SERVICE, Access.ACCESS_AUTHENTICATED];
    expect(known, path).toContain(access);
  }
});

test("E4 denies a method without a declared access", async () => {
  await serve();
  expect((await getProduct()).name).toBe("products/1");
  catalog.close();
  await server.drain();
  // Not to an authenticated service either.
  const authenticate = async () => ({ service: "checkout" });
  await serve({ contract: withAccess(Access.ACCESS_UNSPECIFIED), authenticate });
  expect(await refusal(getProduct())).toMatchObject({
    code: status.PERMISSION_DENIED,
    reason: "ACCESS_DENIED",
  });
});

test("E4 serves a service-only method to authenticated services only", async () => {
  const seen: [authorization: string | undefined, method: string][] = [];
  await serve({
    contract: withAccess(Access.ACCESS_SERVICE),
    authenticate: async (authorization, method) => {
      seen.push([authorization, method]);
      if (authorization === undefined) throw Errors.CREDENTIAL_INVALID();
      return { service: "checkout" };
    },
  });
  answer = async ({ caller }) => Product.create({ name: caller.service });
  const metadata = new Metadata();
  metadata.set("authorization", "Bearer x");
  const served = await catalog.getProduct({ name: "products/1" }, { metadata });
  expect(served.name).toBe("checkout");
  expect((await refusal(getProduct())).reason).toBe("CREDENTIAL_INVALID");
  const { path } = CatalogServiceService.getProduct;
  expect(seen).toEqual([
    ["Bearer x", path],
    [undefined, path],
  ]);
});

test("logs a failure with its cause and a refusal in short", async () => {
  const lines: Record<string, unknown>[] = [];
  const log = pino(
    { level: "debug" },
    { write: (line: string) => void lines.push(JSON.parse(line)) },
  );
  await serve({ log });
  answer = async () => {
    throw new Error("at line 7");
  };
  await refusal(getProduct());
  await refusal(catalog.getProduct({ name: "films/1" }));
  answer = async () => {
    throw Errors.WAYBILL_INVALID({ cause: new Error("it does not open") });
  };
  await refusal(getProduct());
  const method = CatalogServiceService.getProduct.path;
  expect(lines).toMatchObject([
    { level: 50, msg: "call failed", method, reason: "INTERNAL", err: { message: "at line 7" } },
    { level: 30, msg: "call refused", method, reason: "INVALID_FIELD" },
    { level: 30, msg: "call refused", method, reason: "WAYBILL_INVALID", why: "it does not open" },
  ]);
  expect(lines[2]).not.toHaveProperty("err");
});

test("E4 denies service-only methods if it cannot authenticate services", async () => {
  await serve({ contract: withAccess(Access.ACCESS_SERVICE) });
  expect((await refusal(getProduct())).reason).toBe("ACCESS_DENIED");
});

/** Sends bytes as they are. */
function sendRaw(path: string, bytes: Buffer, channel: ChannelOptions = {}): Promise<unknown> {
  const client = new Client(target, credentials.createInsecure(), channel);
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      path,
      (value: Buffer) => value,
      (value: Buffer) => value,
      bytes,
      (error, response) => {
        client.close();
        if (error) reject(error);
        else resolve(response);
      },
    );
  });
}

test("E3 refuses a message beyond the limit before decoding it", async () => {
  await serve({ maxRequestBytes: 1000 });
  const { path } = CatalogServiceService.getProduct;
  const encode = CatalogServiceService.getProduct.requestSerialize;
  await sendRaw(path, encode({ name: "products/1" }));
  // The bytes are not protobuf either, but the server has not decoded them.
  expect(await refusal(sendRaw(path, Buffer.alloc(1001, 0xff)))).toMatchObject({
    code: status.RESOURCE_EXHAUSTED,
    reason: "REQUEST_TOO_LARGE",
    metadata: { size: "1001", limit: "1000" },
  });
});

test("E3 applies the method's limit to compressed messages", async () => {
  await serve({ maxRequestBytes: 1000 });
  const { path, requestSerialize: encode } = CatalogServiceService.getProduct;
  const gzip = { "grpc.default_compression_algorithm": compressionAlgorithms.gzip };
  await sendRaw(path, encode({ name: "products/1" }), gzip);
  expect(await refusal(sendRaw(path, Buffer.alloc(1001, 0xff), gzip))).toMatchObject({
    code: status.RESOURCE_EXHAUSTED,
    reason: "REQUEST_TOO_LARGE",
  });
});

test("refuses a request that is not protobuf with INVALID_FIELD", async () => {
  await serve();
  const { path } = CatalogServiceService.getProduct;
  expect(await refusal(sendRaw(path, Buffer.from([0x0a, 0xff])))).toMatchObject({
    code: status.INVALID_ARGUMENT,
    reason: "INVALID_FIELD",
  });
});

test("hides an unexpected error of a handler from the caller", async () => {
  await serve();
  answer = async () => {
    throw new Error("password hunter2 at line 7");
  };
  expect(await refusal(getProduct())).toMatchObject({
    code: status.INTERNAL,
    reason: "INTERNAL",
    message: "The call failed because of an error in the service.",
    metadata: {},
  });
});

test("a handler that reads a missing session fails with INTERNAL", async () => {
  await serve();
  answer = async (context) => Product.create({ name: (context as Context<unknown>).session.id });
  expect((await refusal(getProduct())).reason).toBe("INTERNAL");
});

test("sheds calls beyond its limit with a retry delay", async () => {
  await serve({ maxCalls: 2 });
  // HTTP/2 limits the streams of a connection, too, so this uses two connections.
  const other = createClient(CatalogServiceService, target, {
    channel: { "grpc.use_local_subchannel_pool": 1 },
  });
  const gate = Promise.withResolvers<void>();
  const bothAreIn = Promise.withResolvers<void>();
  let inside = 0;
  answer = async () => {
    inside += 1;
    if (inside === 2) bothAreIn.resolve();
    await gate.promise;
    return Product.create();
  };
  const held = [getProduct(), getProduct()];
  await bothAreIn.promise;
  expect(await refusal(other.getProduct({ name: "products/1" }))).toMatchObject({
    code: status.RESOURCE_EXHAUSTED,
    reason: "OVERLOADED",
    retryAfterMs: 1000,
  });
  gate.resolve();
  await Promise.all(held);
  expect(inside).toBe(2);
  await other.getProduct({ name: "products/1" });
  other.close();
});

test("serves other services of the system beyond the limit", async () => {
  await serve({
    maxCalls: 1,
    contract: withAccess(Access.ACCESS_SERVICE),
    authenticate: async () => ({ service: "checkout" }),
  });
  const other = createClient(CatalogServiceService, target, {
    channel: { "grpc.use_local_subchannel_pool": 1 },
  });
  const gate = Promise.withResolvers<void>();
  const entered = Promise.withResolvers<void>();
  answer = async (_context, name) => {
    entered.resolve();
    if (name === "products/1") await gate.promise;
    return Product.create({ name });
  };
  const held = getProduct();
  await entered.promise;
  expect((await other.getProduct({ name: "products/2" })).name).toBe("products/2");
  gate.resolve();
  await held;
  other.close();
});

test("a drain fails no running call and accepts no connection", async () => {
  await serve();
  const gate = Promise.withResolvers<void>();
  const entered = Promise.withResolvers<void>();
  answer = async () => {
    entered.resolve();
    await gate.promise;
    return Product.create({ name: "products/7" });
  };
  const held = getProduct();
  await entered.promise;
  const drained = server.drain();
  const late = createClient(CatalogServiceService, target, {
    channel: { "grpc.use_local_subchannel_pool": 1 },
  });
  expect((await refusal(late.getProduct({ name: "products/1" }))).code).toBe(status.UNAVAILABLE);
  late.close();
  gate.resolve();
  expect((await held).name).toBe("products/7");
  await drained;
});

test("a cancelled call aborts its handler's signal and nested calls", async () => {
  await serve();
  const onward = Promise.withResolvers<unknown>();
  const entered = Promise.withResolvers<void>();
  answer = async (context, name) => {
    if (name === "products/1") {
      const made = catalog.getProduct({ name: "products/2" }, { context });
      onward.resolve(await made.catch((error) => error));
    } else {
      entered.resolve();
      await once(context.signal, "abort");
    }
    return Product.create();
  };
  const controller = new AbortController();
  const call = catalog.getProduct({ name: "products/1" }, { signal: controller.signal });
  await entered.promise;
  controller.abort();
  expect((await refusal(call)).code).toBe(status.CANCELLED);
  expect(await onward.promise).toMatchObject({ code: status.CANCELLED });
});

test("nested calls get the caller's deadline and trace", async () => {
  await serve();
  const seen = new Map<string, Context>();
  answer = async (context, name) => {
    seen.set(name, context);
    if (name === "products/1") {
      await catalog.getProduct({ name: "products/2" }, { context, timeoutMs: 60_000 });
    }
    return Product.create();
  };
  const metadata = new Metadata();
  metadata.set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  metadata.set("waybill", "sealed for another audience");
  await catalog.getProduct({ name: "products/1" }, { metadata, timeoutMs: 5000 });
  const [first, onward] = [seen.get("products/1")!, seen.get("products/2")!];
  // On the wire a deadline is a duration, so the two differ by the transit time.
  expect(onward.deadline).toBeLessThan(first.deadline + 5000);
  expect(onward.metadata.get("traceparent")).toEqual(metadata.get("traceparent"));
  expect(onward.metadata.get("waybill")).toEqual([]);
});

test("every call of a client has a deadline", async () => {
  await serve();
  let deadline = Number.POSITIVE_INFINITY;
  answer = async (context) => {
    ({ deadline } = context);
    return Product.create();
  };
  await getProduct();
  expect(deadline).toBeLessThan(Number.POSITIVE_INFINITY);
});

test("does not send a call whose signal is already aborted", async () => {
  await serve();
  const gone = AbortSignal.abort();
  answer = () => expect.unreachable();
  const call = catalog.getProduct({ name: "products/1" }, { signal: gone });
  expect((await refusal(call)).code).toBe(status.CANCELLED);
});

test("names an address in use", async () => {
  await serve();
  const second = new Server({ contract });
  await expect(second.listen(target)).rejects.toThrow(`cannot listen on ${target}`);
});

test("a draining server stays NOT_SERVING", async () => {
  await serve();
  const probes = `127.0.0.1:${await server.listenForProbes("127.0.0.1:0")}`;
  const gate = Promise.withResolvers<void>();
  const entered = Promise.withResolvers<void>();
  answer = async () => {
    entered.resolve();
    await gate.promise;
    return Product.create();
  };
  const held = getProduct();
  await entered.promise;
  const drained = server.drain();
  server.serving(true);
  expect(await health(probes)).toBe("NOT_SERVING");
  gate.resolve();
  await Promise.all([held, drained]);
});

test("a client that stops reading a stream cancels the call", async () => {
  server = new Server({ contract: withAccess(Access.ACCESS_PUBLIC) });
  const ended = Promise.withResolvers<void>();
  server.add(KeysServiceService, {
    getRing: async () => ({ jwe: "" }),
    ...REST_OF_KEYS,
    async *watchRing(_request, { signal }) {
      yield { ring: undefined };
      await once(signal, "abort");
      ended.resolve();
    },
  });
  const keys = createClient(KeysServiceService, `127.0.0.1:${await server.listen("127.0.0.1:0")}`);
  for await (const { ring } of keys.watchRing({ audience: "a" })) {
    expect(ring).toBeUndefined();
    break;
  }
  await ended.promise;
  keys.close();
});

/** Returns the status in a health check, or the name of the status code that it fails with. */
function health(address: string): Promise<string> {
  const client = new HealthClient(address, credentials.createInsecure());
  return new Promise((resolve) => {
    client["check"]!({ service: "" }, (error: ServiceError | null, answer?: { status: string }) => {
      client.close();
      resolve(error ? status[error.code]! : answer!.status);
    });
  });
}

test("a drain closes the connection of a health watch", async () => {
  await serve();
  const client = new HealthClient(target, credentials.createInsecure());
  const watch = client["watch"]!({ service: "" }) as ClientReadableStream<unknown>;
  const failed = once(
    watch.on("data", () => {}),
    "error",
  );
  await once(watch, "data");
  await server.drain();
  await failed;
  client.close();
}, 10_000);

test("the port for probes serves health checks only", async () => {
  await serve();
  const probes = `127.0.0.1:${await server.listenForProbes("127.0.0.1:0")}`;
  expect(await health(probes)).toBe("SERVING");
  server.serving(false);
  expect(await health(probes)).toBe("NOT_SERVING");
  const other = createClient(CatalogServiceService, probes);
  expect((await refusal(other.getProduct({ name: "products/1" }))).code).toBe(status.UNIMPLEMENTED);
  other.close();
  await server.drain();
  expect(await health(probes)).toBe("UNAVAILABLE");
});

test("refuses a service with sessions without its state and ring", () => {
  const handlers = {} as never;
  server = new Server({ contract });
  expect(() => server.add(SessionServiceService, handlers)).toThrow("pass its state and ring");
  expect(() =>
    server.add(SessionServiceService, handlers, {
      state: SessionState,
      ring: makeRingSource("session"),
    }),
  ).toThrow();
});
