import { once } from "node:events";
import {
  constants,
  createServer,
  type Http2Server,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo } from "node:net";
import { inspect } from "node:util";
import {
  InterceptingCall,
  type Interceptor,
  Metadata,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { afterEach, beforeEach, expect, test } from "vitest";
import { CatalogServiceService, Product } from "../../proto/gen/waybill/catalog/v1/catalog.ts";
import { CheckoutServiceService } from "../../proto/gen/waybill/checkout/v1/checkout.ts";
import { contract } from "../../test/support/clients.ts";
import { refusal } from "../../test/support/refusal.ts";
import type { Contract } from "../contract/contract.ts";
import { Errors } from "../errors.ts";
import { createClient, type ServiceClient } from "./client.ts";
import { Jar } from "./jar/jar.ts";
import { MemoryStore } from "./jar/stores.ts";
import { retrying } from "./retry.ts";

/** Responds to each attempt as `attempts` says. */
let server: Http2Server;
let attempts: ((stream: ServerHttp2Stream) => void)[];
let seen = 0;
let client: ServiceClient<typeof CatalogServiceService>;

const HEAD = { ":status": 200, "content-type": "application/grpc" };
const message = Buffer.from(Product.encode(Product.create({ name: "products/1" })).finish());
const framed = Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message]);

const whole = (stream: ServerHttp2Stream) => {
  stream.respond(HEAD, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": 0 }));
  stream.end(framed);
};
/** Sends the headers and half of the response, and breaks off. */
const half = (breakOff: (stream: ServerHttp2Stream) => void) => (stream: ServerHttp2Stream) => {
  stream.respond(HEAD);
  stream.write(framed.subarray(0, 8), () => breakOff(stream));
};
/** The client sees them as UNAVAILABLE or INTERNAL. */
const halves = [
  half((stream) => stream.session?.destroy()),
  half((stream) => stream.close(constants.NGHTTP2_INTERNAL_ERROR)),
  half((stream) => stream.end()),
];
const refusing =
  (error: ReturnType<(typeof Errors)["OVERLOADED"]>) => (stream: ServerHttp2Stream) => {
    const { code, metadata } = error.toStatusObject();
    const packed = metadata.get("grpc-status-details-bin")[0] as Buffer;
    stream.respond(
      { ...HEAD, "grpc-status": code, "grpc-status-details-bin": packed.toString("base64") },
      { endStream: true },
    );
  };

/** A contract in which no method is safe to repeat. */
const onceOnly: Contract = {
  ...contract,
  find: (path) => {
    const found = contract.find(path);
    return found && { ...found, repeatable: false };
  },
};

beforeEach(async () => {
  seen = 0;
  server = createServer();
  server.on("stream", (stream: ServerHttp2Stream) => {
    stream.on("error", () => {});
    const answer = attempts[Math.min(seen, attempts.length - 1)]!;
    seen += 1;
    answer(stream);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
});
afterEach(() => {
  client.close();
  server.close();
});

function get(from: Contract | undefined, settings = {}): Promise<Product> {
  const target = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  client = createClient(CatalogServiceService, target, {
    ...(from && { contract: from }),
    channel: { "grpc.use_local_subchannel_pool": 1, "grpc.initial_reconnect_backoff_ms": 100 },
  });
  return client.getProduct({ name: "products/1" }, settings);
}

test("retries a response that broke off, where the contract allows it", async () => {
  attempts = [...halves, whole];
  expect((await get(contract)).name).toBe("products/1");
  expect(seen).toBe(4);
  client.close();
  const codes = new Set<status>();
  for (const half of halves) {
    for (const from of [onceOnly, undefined]) {
      seen = 0;
      attempts = [half];
      codes.add((await refusal(get(from))).code);
      expect(seen).toBe(1);
      client.close();
    }
  }
  expect(codes).toEqual(new Set([status.UNAVAILABLE, status.INTERNAL]));
});

test("retries a refusal with a reason only if nothing was done", async () => {
  attempts = [refusing(Errors.INTERNAL()), whole];
  expect((await refusal(get(contract))).reason).toBe("INTERNAL");
  expect(seen).toBe(1);
  client.close();
  const passing = { retryAfterMs: 10 };
  for (const error of [
    Errors.KEYS_UNAVAILABLE(),
    Errors.OVERLOADED(passing),
    Errors.CONFLICT(passing),
  ]) {
    seen = 0;
    attempts = [refusing(error), whole];
    expect((await get(contract)).name).toBe("products/1");
    expect(seen).toBe(2);
    client.close();
  }
});

const answering = (headers: OutgoingHttpHeaders, body?: string) => (stream: ServerHttp2Stream) => {
  stream.respond(headers, { endStream: body === undefined });
  if (body !== undefined) stream.end(body);
};

test.each([400, 409, 412, 413, 415, 431, 500, 505])(
  "does not retry a call that HTTP status %i refused",
  async (httpStatus) => {
    for (const body of [undefined, "<html>No</html>"]) {
      seen = 0;
      attempts = [answering({ ":status": httpStatus, "content-type": "text/html" }, body), whole];
      const { code, message } = await refusal(get(contract));
      expect([status.INTERNAL, status.UNKNOWN]).toContain(code);
      expect(message).toBe(`Received HTTP status code ${httpStatus}`);
      expect(seen).toBe(1);
      client.close();
    }
  },
);

test.each([429, 502, 503, 504])(
  "retries a call that HTTP status %i refused",
  async (httpStatus) => {
    attempts = [answering({ ":status": httpStatus, "content-type": "text/html" }), whole];
    expect((await get(contract)).name).toBe("products/1");
    expect(seen).toBe(2);
  },
);

test.each([
  [status.INTERNAL, "a bug"],
  [status.UNKNOWN, "a bug"],
  [status.INTERNAL, "Received RST_STREAM with code 2 (Internal server error)"],
])("does not retry a service's own status %i: %s", async (code, message) => {
  attempts = [answering({ ...HEAD, "grpc-status": code, "grpc-message": message }), whole];
  expect(await refusal(get(contract))).toMatchObject({ code, message });
  expect(seen).toBe(1);
});

test("does not write to the caller's metadata", async () => {
  const empty = Buffer.alloc(5);
  attempts = [
    (stream) => {
      stream.respond(HEAD, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": 0 }));
      stream.end(empty);
    },
  ];
  const target = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const interceptors = [new Jar({ contract }).interceptor()];
  client = createClient(CatalogServiceService, target);
  const checkout = createClient(CheckoutServiceService, target, { interceptors });
  const metadata = new Metadata();
  await checkout.placeOrder({}, { metadata });
  // A second call with the same idempotency key would get the first one's response.
  expect(metadata.getMap()).toEqual({});
  checkout.close();
});

test("gives up after five attempts, with the last one's error", async () => {
  attempts = [refusing(Errors.KEYS_UNAVAILABLE({ retryAfterMs: 1 }))];
  expect((await refusal(get(contract))).reason).toBe("KEYS_UNAVAILABLE");
  expect(seen).toBe(5);
});

test("does not wait for an attempt past the deadline", async () => {
  attempts = [refusing(Errors.OVERLOADED({ retryAfterMs: 60_000 }))];
  expect((await refusal(get(contract, { timeoutMs: 5000 }))).reason).toBe("OVERLOADED");
  expect(seen).toBe(1);
});

test("passes on the metadata of the last attempt alone", async () => {
  const withHeader = (value: string) => (stream: ServerHttp2Stream) => {
    stream.respond({ ...HEAD, "x-attempt": value }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": value === "2" ? 0 : 14 }));
    stream.end(value === "2" ? framed : undefined);
  };
  attempts = [withHeader("1"), withHeader("2")];
  const heard: unknown[] = [];
  const onMetadata = (metadata: Metadata) => heard.push(metadata.get("x-attempt"));
  expect((await get(contract, { onMetadata })).name).toBe("products/1");
  expect(heard).toEqual([["2"]]);
});

test.each([1, 2])("cancelling a call ends its attempt %i", async (number) => {
  const controller = new AbortController();
  const [begun, closed] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const hanging = (stream: ServerHttp2Stream) => {
    stream.on("close", () => closed.resolve());
    begun.resolve();
  };
  attempts = [refusing(Errors.OVERLOADED({ retryAfterMs: 1 })), hanging].slice(2 - number);
  const call = get(contract, { signal: controller.signal });
  await begun.promise;
  controller.abort();
  expect((await refusal(call)).code).toBe(status.CANCELLED);
  await closed.promise;
  expect(seen).toBe(number);
});

test("a call cancelled between two attempts is not retried", async () => {
  const controller = new AbortController();
  const refuse = refusing(Errors.OVERLOADED({ retryAfterMs: 4000 }));
  const first = Promise.withResolvers<void>();
  attempts = [
    (stream) => {
      stream.on("close", () => first.resolve());
      refuse(stream);
    },
  ];
  const call = get(contract, { signal: controller.signal });
  await first.promise;
  controller.abort();
  expect((await refusal(call)).code).toBe(status.CANCELLED);
  expect(seen).toBe(1);
});

test("C3 a call cancelled between two attempts does not return its own metadata", async () => {
  attempts = [refusing(Errors.OVERLOADED({ retryAfterMs: 5_000 }))];
  const { promise: waiting, resolve: wait } = Promise.withResolvers<void>();
  // Between the retries and the wire.
  const watching: Interceptor = (options, nextCall) =>
    new InterceptingCall(nextCall(options), {
      start(sent, _listener, next) {
        next(sent, {
          onReceiveStatus(result, nextStatus) {
            nextStatus(result);
            wait();
          },
        });
      },
    });
  const target = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const interceptors = [retrying(contract), watching];
  client = createClient(CatalogServiceService, target, { interceptors });
  const metadata = new Metadata();
  const secrets = { authorization: "Bearer a-token", waybill: "a-waybill", dpop: "a-proof" };
  for (const [key, value] of Object.entries(secrets)) metadata.set(key, value);
  const controller = new AbortController();
  const trailers: Metadata[] = [];
  const settings = {
    metadata,
    signal: controller.signal,
    onTrailers: (received: Metadata) => trailers.push(received),
  };
  const failed = client.getProduct({ name: "products/1" }, settings).then(
    () => expect.unreachable(),
    (error: ServiceError) => error,
  );
  await waiting;
  controller.abort();
  const error = await failed;
  expect(error).toMatchObject({
    code: status.CANCELLED,
    details: "Cancelled between two attempts",
  });
  expect(seen).toBe(1);
  expect(error.metadata.getMap()).toEqual({});
  expect(trailers.map((each) => each.getMap())).toEqual([{}]);
  for (const secret of Object.values(secrets)) {
    expect(inspect(error, { depth: 10, showHidden: true })).not.toContain(secret);
  }
});

test("C3 the error about a secret that metadata cannot carry does not contain it", async () => {
  attempts = [whole];
  const target = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  for (const secret of ["Bearer a-token\n", "Bearer a-tok\u00e9n", "Bearer\ta-token"]) {
    client = createClient(CatalogServiceService, target, { authorize: async () => secret });
    const failed = client.getProduct({ name: "products/1" }).then(
      () => expect.unreachable(),
      (error: Error) => error,
    );
    const error = await failed;
    expect(error.message).toMatch(/authorization/);
    expect(inspect(error)).not.toContain("a-tok");
    client.close();
    const store = new MemoryStore();
    const jar = new Jar({ contract, store });
    store.set("checkout/default", secret);
    const checkout = createClient(CheckoutServiceService, target, {
      interceptors: [jar.interceptor()],
    });
    const refused = await checkout.getCheckout({}).then(
      () => expect.unreachable(),
      (thrown: Error) => thrown,
    );
    expect(refused.message).toMatch(/waybill/);
    expect(inspect(refused)).not.toContain("a-tok");
    checkout.close();
  }
  expect(seen).toBe(0);
});
