import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Product } from "#proto/waybill/catalog/v1/catalog.ts";
import { type FrontProxy, startFrontProxy } from "../schema/frontProxy.ts";
import { makeClients } from "../support/clients.ts";
import { refusal } from "../support/refusal.ts";
import { http2 } from "../support/wire/plainHttp.ts";
import {
  type Header,
  type RawResponse,
  type RawUpstream,
  startRawUpstream,
} from "../support/wire/rawUpstream.ts";

/** Number of upstreams that break the rules of HTTP/2 and gRPC behind a real front proxy. */
const UPSTREAMS = 3;
/** Enough callers for each Envoy thread to have upstream connections of its own. */
const CALLERS = 8;
const OTHERS = 3 * CALLERS;
const HEAD: Header[] = [
  [":status", "200"],
  ["content-type", "application/grpc"],
];
const REFUSED: Header = ["grpc-status", `${status.INVALID_ARGUMENT}`];
const SERVING = Buffer.from([8, 1]);
const PRODUCT = Product.encode(Product.create({ name: "products/1" })).finish();

let frontProxy: FrontProxy;
let upstreams: RawUpstream[];
/** Responses that a test releases. */
let waiting: (() => void)[] = [];
let allWait = Promise.withResolvers<void>();
/** Requests of other callers, and malformed responses, in the current test. */
let counts = { others: 0, poison: 0 };
let poison: (response: RawResponse) => void;

function serve(response: RawResponse, message: Uint8Array): void {
  response.headers(HEAD);
  response.message(message);
  response.headers([["grpc-status", "0"]], true);
}

function answer(message: Buffer, response: RawResponse): void {
  if (message.length === 0) {
    // Envoy's health check sends an empty service name.
    serve(response, SERVING);
  } else if (message.includes("poison")) {
    counts.poison += 1;
    poison(response);
  } else {
    counts.others += 1;
    waiting.push(() => serve(response, PRODUCT));
    if (waiting.length === OTHERS) allWait.resolve();
  }
}

beforeAll(async () => {
  upstreams = await Promise.all(Array.from({ length: UPSTREAMS }, () => startRawUpstream(answer)));
  frontProxy = await startFrontProxy();
  await frontProxy.leadTo(upstreams.map(({ address }) => address));
});
afterAll(async () => {
  await frontProxy?.close();
  await Promise.all(upstreams?.map((upstream) => upstream.close()) ?? []);
});

const big = (bytes: number): Header => ["x-big", "a".repeat(bytes)];
const many = (count: number): Header[] =>
  Array.from({ length: count }, (_, index) => [`x-many-${index}`, "a"]);
const only =
  (...headers: Header[]) =>
  (response: RawResponse) =>
    response.headers(headers, true);
const trailing =
  (...trailers: Header[]) =>
  (response: RawResponse) => {
    response.headers(HEAD);
    response.message(PRODUCT);
    response.headers(trailers, true);
  };

const POISONS: Record<string, (response: RawResponse) => void> = {
  "a header of 100 KiB": only(...HEAD, REFUSED, big(100 * 1024)),
  "a header of 1 MiB": only(...HEAD, REFUSED, big(1024 * 1024)),
  "a header of 9 MiB": only(...HEAD, REFUSED, big(9 * 1024 * 1024)),
  "a trailer of 100 KiB": trailing(REFUSED, big(100 * 1024)),
  "a trailer of 1 MiB": trailing(REFUSED, big(1024 * 1024)),
  "a trailer of 9 MiB": trailing(REFUSED, big(9 * 1024 * 1024)),
  "200 headers": only(...HEAD, REFUSED, ...many(200)),
  "5,000 headers": only(...HEAD, REFUSED, ...many(5000)),
  "5,000 trailers": trailing(REFUSED, ...many(5000)),
  "a line break in a value": only(...HEAD, REFUSED, ["grpc-message", "a\nb"]),
  "NUL in a value": only(...HEAD, REFUSED, ["grpc-message", "a\0b"]),
  "a line break in a trailer": trailing(REFUSED, ["grpc-message", "a\nb"]),
  "bytes over 127 in a value": only(...HEAD, REFUSED, ["x-odd", Buffer.from([0x61, 0xff])]),
  "a name in upper case": only(...HEAD, REFUSED, ["X-Upper", "a"]),
  "a name with a space": only(...HEAD, REFUSED, ["x space", "a"]),
  "an empty name": only(...HEAD, REFUSED, ["", "a"]),
  "no :status": only(["content-type", "application/grpc"], REFUSED),
  "a non-numeric :status": only([":status", "abc"], REFUSED),
  ":status 101": only([":status", "101"], REFUSED),
  ":status twice": only([":status", "200"], ...HEAD, REFUSED),
  ":status in trailers": trailing([":status", "200"], REFUSED),
  "a connection-specific header": only(...HEAD, REFUSED, ["connection", "close"]),
  "transfer-encoding": only(...HEAD, REFUSED, ["transfer-encoding", "chunked"]),
  "a non-numeric content-length": only(...HEAD, REFUSED, ["content-length", "x"]),
  "a content-length below the body": (response) => {
    response.headers([...HEAD, ["content-length", "1"]]);
    response.message(PRODUCT);
    response.headers([["grpc-status", "0"]], true);
  },
  "no grpc-status": trailing(["x-other", "a"]),
  "a non-numeric grpc-status": trailing(["grpc-status", "abc"]),
  "headers twice": (response) => {
    response.headers(HEAD);
    response.headers(HEAD);
    response.headers([["grpc-status", "0"]], true);
  },
  "a message before the headers": (response) => {
    response.message(PRODUCT);
    response.headers(HEAD);
    response.headers([["grpc-status", "0"]], true);
  },
  "no content-type": only([":status", "200"], REFUSED),
  ":status 503 without a grpc-status": only([":status", "503"], ["content-type", "text/plain"]),
};

test.for(Object.entries(POISONS))(
  "R1 a response with %s fails only its stream",
  async ([, respond]) => {
    poison = respond;
    counts = { others: 0, poison: 0 };
    waiting = [];
    allWait = Promise.withResolvers();
    const others = Array.from({ length: CALLERS }, () =>
      makeClients(frontProxy.target, { withJar: false, retries: false }),
    );
    const calls = Array.from({ length: OTHERS }, (_, index) =>
      others[index % CALLERS]!.catalog.getProduct({ name: "products/1" }),
    );
    await allWait.promise;

    await http2(frontProxy.target, {
      method: "POST",
      path: "/waybill.catalog.v1.CatalogService/GetProduct",
      headers: { "content-type": "application/grpc", te: "trailers" },
      body: Buffer.concat([Buffer.from([0, 0, 0, 0, 15, 10, 13]), Buffer.from("poison/poison")]),
    });

    for (const respondToOther of waiting) respondToOther();
    expect((await Promise.all(calls)).map(({ name }) => name)).toEqual(
      calls.map(() => "products/1"),
    );
    for (const caller of others) caller.close();
    // The front proxy retried no request: no upstream connection has ended.
    expect(counts).toEqual({ others: OTHERS, poison: 1 });
  },
);

test("R1 a malformed response becomes INTERNAL with a reason", async () => {
  for (const name of ["a line break in a value", "200 headers", "no :status"]) {
    poison = POISONS[name]!;
    const clients = makeClients(frontProxy.target, { withJar: false, retries: false });
    expect(await refusal(clients.catalog.getProduct({ name: "poison" })), name).toMatchObject({
      code: status.INTERNAL,
      domain: "waybill",
      reason: "INTERNAL",
    });
    clients.close();
  }
});
