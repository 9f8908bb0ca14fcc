import { readFileSync } from "node:fs";
import type { IncomingHttpHeaders } from "node:http2";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ErrorReport } from "waybill";
import { BatchGetProductsRequest } from "#proto/waybill/catalog/v1/catalog.ts";
import {
  AddItemRequest,
  Checkout,
  EditItemsRequest,
  Order,
  SetAddressRequest,
  UploadItemsRequest,
} from "#proto/waybill/checkout/v1/checkout.ts";
import { SignUpRequest } from "#proto/waybill/identity/v1/identity.ts";
import {
  BeginSessionRequest,
  OpenSessionResponse,
  SessionState,
} from "#proto/waybill/session/v1/session.ts";
import { SignInRequest } from "#proto/waybill/token/v1/token.ts";
import { ADDRESS } from "../support/callers/shopper.ts";
import { contract } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { seededRandom } from "../support/random.ts";
import { Encodings } from "../support/wire/encodings.ts";
import { frame, rawCall } from "../support/wire/rawCall.ts";

const CHECKOUT = "/waybill.checkout.v1.CheckoutService";
const CATALOG = "/waybill.catalog.v1.CatalogService";
const SESSION = "/waybill.session.v1.SessionService";
const IDENTITY = "/waybill.identity.v1.IdentityService";
const TOKEN = "/waybill.token.v1.TokenService";

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startTestCluster();
});
afterAll(() => cluster?.remove());

interface Response extends ErrorReport {
  /** Initial metadata and trailers together. */
  readonly headers: IncomingHttpHeaders;
  readonly messages: readonly Buffer[];
}

/** Calls with bytes that no gRPC client would send. @param requests as encoded */
async function call(
  path: string,
  requests: Uint8Array | readonly Uint8Array[],
  metadata: { waybill?: string } = {},
): Promise<Response> {
  const all = requests instanceof Uint8Array ? [requests] : requests;
  const { report, headers, trailers, body } = await rawCall(cluster.target, path, {
    fields: Object.entries(metadata),
    body: Buffer.concat(all.map(frame)),
  });
  const messages: Buffer[] = [];
  for (let at = 0; at + 5 <= body.length; ) {
    const end = at + 5 + body.readUInt32BE(at + 1);
    messages.push(body.subarray(at + 5, end));
    at = end;
  }
  return { ...report, headers: { ...headers, ...trailers }, messages };
}

/** The size of response headers as HTTP/2 peers count it (RFC 9113 section 6.5.2). */
function sizeOf(headers: IncomingHttpHeaders): number {
  return Object.entries(headers)
    .map(([name, value]) => name.length + String(value).length + 32)
    .reduce((sum, size) => sum + size, 0);
}

const hex = (text: string) => Buffer.from(text.replaceAll(" ", ""), "hex");
const varint = (value: number): Buffer =>
  value < 128 ? Buffer.from([value]) : Buffer.from([(value & 127) | 128, ...varint(value >> 7)]);
/** Encodes a length-delimited field: a string or a message. */
const field = (number: number, content: string | Uint8Array) =>
  Buffer.concat([
    varint((number << 3) | 2),
    varint(Buffer.from(content as string).length),
    Buffer.from(content as string),
  ]);
/** -1000 as an int32. */
const MINUS_1000 = "98f8ffffffffffffff01";

const PRODUCT = field(1, "products/41");
const addItem = (quantity: number) =>
  AddItemRequest.encode({ product: "products/41", quantity }).finish();
const address = SetAddressRequest.encode({ address: ADDRESS }).finish();
const beginSession = BeginSessionRequest.encode(
  BeginSessionRequest.create({ state: { value: { $case: "json", value: { a: 1 } } } }),
).finish();

async function waybillOf(response: Promise<Response>): Promise<string> {
  const { code, message, headers } = await response;
  expect(code, message).toBe(status.OK);
  return String(headers["waybill"]);
}

const newCheckout = () => waybillOf(call(`${CHECKOUT}/BeginCheckout`, Buffer.alloc(0)));

/** Ambiguous requests of each kind, each with a valid twin, which is served. */
const AMBIGUOUS: {
  what: string;
  path: string;
  good: Uint8Array;
  bad: Buffer;
  field: string;
}[] = [
  {
    what: "V2 a quantity of -1000 behind a foreign wire type",
    path: `${CHECKOUT}/AddItem`,
    good: addItem(2),
    bad: Buffer.concat([PRODUCT, hex(`10 ${MINUS_1000} 12 02 5800`)]),
    field: "quantity",
  },
  {
    what: "V2 a quantity as fixed32",
    path: `${CHECKOUT}/AddItem`,
    good: addItem(2),
    bad: Buffer.concat([PRODUCT, hex("15 02000000")]),
    field: "quantity",
  },
  {
    what: "V2 a product as fixed64",
    path: `${CHECKOUT}/AddItem`,
    good: addItem(2),
    bad: Buffer.concat([PRODUCT, hex("09 0766696c6d732f37")]),
    field: "product",
  },
  {
    what: "V2 a product as a group",
    path: `${CHECKOUT}/AddItem`,
    good: addItem(2),
    bad: Buffer.concat([PRODUCT, hex("0b 0c")]),
    field: "product",
  },
  {
    what: "V3 a good address, then an empty one",
    path: `${CHECKOUT}/SetAddress`,
    good: address,
    bad: Buffer.concat([address, hex("0a00")]),
    field: "address",
  },
  {
    what: "V4 field number 0",
    path: `${CHECKOUT}/AddItem`,
    good: addItem(2),
    bad: Buffer.concat([addItem(2), hex("00")]),
    field: "",
  },
  {
    what: "V4 the end of a group that did not begin",
    path: `${CHECKOUT}/AddItem`,
    good: addItem(2),
    bad: Buffer.concat([hex("4c"), addItem(2)]),
    field: "",
  },
  {
    what: "V4 a group that ends as another",
    path: `${CHECKOUT}/AddItem`,
    good: Buffer.concat([addItem(2), hex("9b06 9c06")]),
    bad: Buffer.concat([addItem(2), hex("9b06 a406")]),
    field: "[99]",
  },
  {
    what: "V4 text that is not UTF-8, in a nested message",
    path: `${CHECKOUT}/SetAddress`,
    good: address,
    bad: field(1, Buffer.concat([field(2, "US"), field(7, "x"), field(9, hex("ff41"))])),
    field: "address.address_lines",
  },
  {
    what: "V4 an int32 beyond 32 bits",
    path: `${CHECKOUT}/AddItem`,
    good: addItem(2),
    bad: Buffer.concat([PRODUCT, hex("10 8280808010")]),
    field: "quantity",
  },
  {
    what: "V4 a varint of eleven bytes",
    path: `${CHECKOUT}/AddItem`,
    good: addItem(2),
    bad: Buffer.concat([PRODUCT, hex("10 8280808080808080808001")]),
    field: "quantity",
  },
  {
    what: "V4 a tag longer than necessary",
    path: `${CHECKOUT}/AddItem`,
    good: addItem(2),
    bad: Buffer.concat([hex("8a00"), PRODUCT.subarray(1)]),
    field: "",
  },
  {
    what: "V4 a length beyond its parent",
    path: `${CHECKOUT}/SetAddress`,
    good: address,
    bad: Buffer.concat([hex("0a02 1220"), address]),
    field: "address.region_code",
  },
  {
    what: "V5 unknown fields beyond 4 KiB",
    path: `${CHECKOUT}/SetAddress`,
    good: Buffer.concat([address, field(200, "x".repeat(4000))]),
    bad: Buffer.concat([address, field(200, "x".repeat(4200))]),
    field: "",
  },
];

describe("refuses a request that parsers could read differently:", () => {
  for (const { what, path, good, bad, field: name } of AMBIGUOUS) {
    test(what, async () => {
      const waybill = await newCheckout();
      expect(await call(path, good, { waybill })).toMatchObject({ code: status.OK });
      const response = await call(path, bad, { waybill: await newCheckout() });
      expect(response).toMatchObject({
        code: status.INVALID_ARGUMENT,
        reason: "INVALID_FIELD",
        violations: [{ field: name }],
      });
      expect(response.headers["waybill"]).toBeUndefined();
    });
  }

  test("V3 a session without its required state", async () => {
    await waybillOf(call(`${SESSION}/BeginSession`, beginSession));
    const bad = Buffer.concat([beginSession, hex("0a00")]);
    expect(await call(`${SESSION}/BeginSession`, bad)).toMatchObject({
      reason: "INVALID_FIELD",
      violations: [{ field: "state" }],
    });
  });

  test("V4 JSON: entries without values, duplicate keys, deep nesting", async () => {
    const json = (fields: Uint8Array) => field(1, field(1, fields));
    const entry = (...parts: Uint8Array[]) => field(1, Buffer.concat(parts));
    const deep = (levels: number): Buffer =>
      levels === 0 ? hex("0800") : field(6, field(1, deep(levels - 1)));
    const begin = (request: Uint8Array) => call(`${SESSION}/BeginSession`, request);
    // A list is a Value and a ListValue: two levels.
    await waybillOf(begin(json(entry(field(1, "a"), field(2, deep(47))))));
    for (const bad of [
      entry(field(1, "a")),
      entry(field(1, "a"), field(2, "")),
      entry(field(1, "a"), field(1, "b"), field(2, hex("0800"))),
      entry(field(1, "a"), field(2, hex("0800")), field(2, hex("2001"))),
      entry(field(1, "a"), field(2, deep(48))),
      entry(field(1, "a"), field(2, deep(400))),
    ]) {
      expect(await begin(json(bad)), bad.toString("hex")).toMatchObject({
        code: status.INVALID_ARGUMENT,
        reason: "INVALID_FIELD",
      });
    }
  });

  test("V2 streamed requests, in the midst of others", async () => {
    const item = { product: "products/41", quantity: 2 };
    const edit = EditItemsRequest.encode({ item }).finish();
    const upload = UploadItemsRequest.encode(item).finish();
    const bad = Buffer.concat([PRODUCT, hex(`10 ${MINUS_1000} 12 02 5800`)]);
    for (const [method, good, refused] of [
      ["EditItems", edit, field(1, bad)],
      ["UploadItems", upload, bad],
    ] as const) {
      const path = `${CHECKOUT}/${method}`;
      const served = await call(path, [good, good], { waybill: await newCheckout() });
      expect(served).toMatchObject({ code: status.OK });
      expect(await call(path, [good, refused], { waybill: await newCheckout() })).toMatchObject({
        code: status.INVALID_ARGUMENT,
        reason: "INVALID_FIELD",
      });
    }
  });

  test("V2 an account with a one-character secret or any name", async () => {
    const secret = "correct horse battery";
    const request = { username: "good-one", secret, displayName: "" };
    const good = SignUpRequest.encode(SignUpRequest.create(request)).finish();
    expect(await call(`${IDENTITY}/SignUp`, good)).toMatchObject({ code: status.OK });
    // A varint field that another parser reads as a length and a text.
    const hidden = (number: number, text: string) =>
      Buffer.concat([varint(number << 3), varint(text.length), Buffer.from(text)]);
    for (const [bad, name] of [
      [Buffer.concat([field(1, "other-one"), field(2, "x"), hidden(2, "z\nAAAAAAAAAA")]), "secret"],
      [Buffer.concat([field(1, "adm\u200bin"), hidden(1, "zA"), field(2, secret)]), "username"],
    ] as const) {
      expect(await call(`${IDENTITY}/SignUp`, bad)).toMatchObject({
        code: status.INVALID_ARGUMENT,
        violations: [{ field: name }],
      });
    }
  });
});

test("V5 an order stores no more unknown fields than allowed", async () => {
  let waybill = await newCheckout();
  const step = async (method: string, request: Uint8Array = Buffer.alloc(0)) => {
    const response = await call(`${CHECKOUT}/${method}`, request, { waybill });
    expect(response, method).toMatchObject({ code: status.OK });
    waybill = String(response.headers["waybill"] ?? waybill);
    return response.messages[0]!;
  };
  const unknown = (number: number) => field(number, "u".repeat(3900));
  const withUnknown = field(1, Buffer.concat([address.subarray(2), unknown(200)]));
  for (let round = 0; round < 5; round += 1) {
    await step("SetAddress", withUnknown);
    await step("AddItem", Buffer.concat([addItem(1), unknown(201)]));
  }
  await step("ChooseDelivery", hex("0801"));
  await step("QuoteCheckout");
  const order = await step("PlaceOrder", unknown(202));
  // The address retains a newer program's unknown field.
  expect(order.includes("u".repeat(3900))).toBe(true);
  expect(Order.decode(order).items).toHaveLength(1);
  expect(order.length).toBeLessThan(4096 + 500);
});

test("V7 hostile encodings neither oversell stock nor add products", async () => {
  // Product 400 has the smallest stock: 100 pieces.
  const product = "products/400";
  const random = seededRandom();
  const encodings = new Encodings(random);
  const { request } = contract.method(`${CHECKOUT}/AddItem`);
  const quantity = (value: number) => AddItemRequest.encode({ product, quantity: value }).finish();
  /** A valid request, a hostile one, or both in one. */
  const attempt = () => {
    const good = quantity(1 + random.below(20));
    const hostile = encodings.hostile(request);
    const minus = hex(`10 ${MINUS_1000} 12 02 5800`);
    const ways = [good, hostile, [good, hostile], [hostile, good], [good, minus], [minus, good]];
    return Buffer.concat([ways[random.below(ways.length)]!].flat());
  };
  const db = new Client({ connectionString: cluster.databaseUrl });
  await db.connect();
  const placed: number[] = [];
  const order = async () => {
    let waybill = await newCheckout();
    const step = async (method: string, bytes: Uint8Array = Buffer.alloc(0)) => {
      const response = await call(`${CHECKOUT}/${method}`, bytes, { waybill });
      waybill = String(response.headers["waybill"] || waybill);
      return response;
    };
    for (let item = 0; item < 4; item += 1) await step("AddItem", attempt());
    await step("SetAddress", address);
    await step("ChooseDelivery", hex("0801"));
    await step("QuoteCheckout");
    const { code, messages } = await step("PlaceOrder");
    if (code !== status.OK) return;
    for (const item of Order.decode(messages[0]!).items) {
      if (item.product === product) placed.push(item.quantity);
    }
  };
  // Eight concurrent checkouts.
  for (let round = 0; round < 8; round += 1) {
    await Promise.all(Array.from({ length: 8 }, order));
  }
  expect(placed.length).toBeGreaterThan(2);
  for (const each of placed) expect(each).toBeGreaterThan(0);
  for (const each of placed) expect(each).toBeLessThan(100);
  const ordered = placed.reduce((sum, each) => sum + each, 0);
  expect(ordered).toBeLessThanOrEqual(100);
  const { rows } = await db.query(
    "SELECT available, checkout.initial_stock(product_id) AS initial FROM checkout.stock WHERE product_id = 400",
  );
  expect(rows).toEqual([{ available: 100 - ordered, initial: 100 }]);
  await db.end();
});

test("V6 JSON keys `__proto__` and `constructor` are plain data", async () => {
  const text =
    '{"__proto__":{"polluted":true},"constructor":{"__proto__":1},"a":{"__proto__":"b"}}';
  const state = SessionState.create({ value: { $case: "json", value: JSON.parse(text) } });
  const request = BeginSessionRequest.encode(BeginSessionRequest.create({ state })).finish();
  const waybill = await waybillOf(call(`${SESSION}/BeginSession`, request));
  const { messages } = await call(`${SESSION}/OpenSession`, Buffer.alloc(0), { waybill });
  const opened = OpenSessionResponse.decode(messages[0]!).state!.value!.value;
  expect(JSON.parse(JSON.stringify(opened))).toEqual(JSON.parse(text));
  expect(JSON.stringify(opened)).toHaveLength(text.length);
});

test("R1 a refusal with 1,000 violations stays below 4 KiB", async () => {
  const names = Array.from({ length: 100 }, (_, at) => `films/${"x".repeat(90)}${at}`);
  const full = BatchGetProductsRequest.encode({ names }).finish();
  for (const bad of [full, Buffer.from("0a00".repeat(100), "hex")]) {
    const response = await call(`${CATALOG}/BatchGetProducts`, bad);
    expect(response).toMatchObject({ code: status.INVALID_ARGUMENT, reason: "INVALID_FIELD" });
    expect(response.violations.length).toBeGreaterThan(5);
    expect(sizeOf(response.headers)).toBeLessThan(4096);
  }
  // The error repeats names that the caller sent.
  const product = "products/999999999";
  const long = { names: Array.from({ length: 100 }, (_, at) => `${product.slice(0, -3)}${at}`) };
  const missing = BatchGetProductsRequest.encode({
    names: long.names.filter((name) => /^products\/[1-9]\d{0,8}$/.test(name)),
  }).finish();
  const response = await call(`${CATALOG}/BatchGetProducts`, missing);
  expect(response.code).not.toBe(status.OK);
  expect(sizeOf(response.headers)).toBeLessThan(4096);
});

describe("R2 refuses oversized requests before it decodes them:", () => {
  for (const [what, path, bytes, reason] of [
    ["a thousand names", `${CATALOG}/BatchGetProducts`, hex("0a00".repeat(1000)), "INVALID_FIELD"],
    [
      "950,000 scopes",
      `${TOKEN}/SignIn`,
      field(4, hex("0a00".repeat(950_000))),
      "REQUEST_TOO_LARGE",
    ],
    ["30,000 scopes", `${TOKEN}/SignIn`, field(4, hex("0a00".repeat(30_000))), "INVALID_FIELD"],
    ["2 MB of junk", `${CHECKOUT}/UpdateItem`, Buffer.alloc(2_000_000, "zA"), "REQUEST_TOO_LARGE"],
  ] as const) {
    test(what, async () => {
      const waybill = path.startsWith(CHECKOUT) ? { waybill: await newCheckout() } : {};
      const response = await call(path, bytes, waybill);
      expect(response.reason).toBe(reason);
      expect(sizeOf(response.headers)).toBeLessThan(4096);
    });
  }
  test("but serves an ordinary request", async () => {
    const wanted = { scopes: [], audiences: [] };
    const request = { username: "nobody", secret: "correct horse battery", wanted };
    const bytes = SignInRequest.encode(SignInRequest.create(request)).finish();
    expect(await call(`${TOKEN}/SignIn`, bytes)).not.toMatchObject({
      reason: "INVALID_FIELD",
    });
  });
  test("also within a stream", async () => {
    const upload = UploadItemsRequest.encode({ product: "products/41", quantity: 2 }).finish();
    const large = Buffer.concat([upload, field(200, "x".repeat(70_000))]);
    const path = `${CHECKOUT}/UploadItems`;
    const response = await call(path, [upload, upload], { waybill: await newCheckout() });
    expect(Checkout.decode(response.messages[0]!).items[0]!.quantity).toBe(4);
    expect(await call(path, [upload, large], { waybill: await newCheckout() })).toMatchObject({
      code: status.RESOURCE_EXHAUSTED,
      reason: "REQUEST_TOO_LARGE",
    });
  });
});

test("junk from strangers logs no error and no stack", () => {
  for (const { number } of cluster.status().replicas) {
    const log = readFileSync(join(cluster.dataDir, "logs", `replica-${number}.log`), "utf8");
    const lines = log
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { level: number | string });
    expect(lines.length).toBeGreaterThan(5);
    expect(lines.filter(({ level }) => level === "error" || Number(level) >= 50)).toEqual([]);
    expect(log).not.toMatch(/"stack"|\\n {4}at /);
  }
});
