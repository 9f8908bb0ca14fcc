import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { CatalogServiceService, Product } from "../../../proto/gen/waybill/catalog/v1/catalog.ts";
import {
  Checkout,
  EditItemsResponse,
  SetItemsResponse,
} from "../../../proto/gen/waybill/checkout/v1/checkout.ts";
import { contract } from "../../../test/support/clients.ts";
import {
  carriedCheckout,
  carriedWaybill,
  KINDS,
  requestOf,
} from "../../../test/support/servers/carriedCheckout.ts";
import { REST_OF_CATALOG } from "../../../test/support/servers/catalogHandlers.ts";
import { type Field, frame, rawCall } from "../../../test/support/wire/rawCall.ts";
import type { Call } from "../call.ts";
import type { Server } from "../server.ts";
import { keysOf, MAX_METADATA_BYTES, MAX_METADATA_KEYS } from "./requestMetadata.ts";

const CHECKOUT = "/waybill.checkout.v1.CheckoutService/";
const GET_PRODUCT = "/waybill.catalog.v1.CatalogService/GetProduct";
const HEALTH: readonly [string, string][] = [
  ["health", "/grpc.health.v1.Health/Check"],
  ["no method at all", "/a.B/C"],
];

let server: Server;
let target: string;
let waybill: string;
let handled: number;
let lines: { level: string; entry: Record<string, unknown> }[];

beforeAll(async () => {
  const log = Object.fromEntries(
    ["error", "warn", "info", "debug"].map((level) => [
      level,
      (entry: Record<string, unknown>) => lines.push({ level, entry }),
    ]),
  );
  const options = {
    log: log as never,
    // Callers without a token are let through where the method is public.
    tokens: {
      canCheck: () => true,
      caller: async ({ headers }: Call) =>
        headers.get("authorization").length === 0 ? undefined : {},
    },
  };
  server = carriedCheckout(options, {
    getCheckout: async () => {
      handled += 1;
      return Checkout.create();
    },
    async *setItems() {
      handled += 1;
      yield SetItemsResponse.create();
    },
    uploadItems: async () => {
      handled += 1;
      return Checkout.create();
    },
    async *editItems() {
      handled += 1;
      yield EditItemsResponse.create();
    },
  });
  server.add(CatalogServiceService, {
    getProduct: async () => {
      handled += 1;
      return Product.create();
    },
    ...REST_OF_CATALOG,
  });
  target = `127.0.0.1:${await server.listen("127.0.0.1:0")}`;
  server.serving(true);
  waybill = carriedWaybill();
});
afterAll(() => server.drain());
beforeEach(() => {
  handled = 0;
  lines = [];
});

const send = (path: string, ...fields: Field[]) =>
  rawCall(target, path, { fields, body: bodyOf(path) });
function bodyOf(path: string): Buffer {
  return path === GET_PRODUCT ? frame(Buffer.from("\n\nproducts/1")) : requestOf(path);
}

/** Changes to a value after which it is no metadata text, or is no longer sent alone. */
const UNREADABLE: [what: string, change: (value: string) => string][] = [
  ["a letter outside ASCII at its end", (value) => `${value}é`],
  ["a byte of UTF-8 in its middle", (value) => `${value.slice(0, 9)}\x80${value.slice(9)}`],
  ["a tab in its middle", (value) => `${value.slice(0, 9)}\t${value.slice(9)}`],
  ["a tab in place of a space", (value) => value.replace(" ", "\t").padStart(1, "\t")],
  ["a no-break space", (value) => `${value}\u00a0`],
  ["a space at its end", (value) => `${value} `],
  ["a tab at its start", (value) => `\t${value}`],
];

describe.each(KINDS)("a method that is %s", (_kind, path) => {
  test("C1 refuses a waybill that cannot be read, and runs no handler", async () => {
    expect(await send(path, ["waybill", waybill])).toMatchObject({ code: status.OK });
    expect(handled).toBe(1);
    for (const [what, change] of UNREADABLE) {
      // No space is part of a waybill.
      if (change(waybill) === waybill) continue;
      const { code, report } = await send(path, ["waybill", change(waybill)]);
      expect({ code, reason: report.reason }, what).toEqual({
        code: status.UNAUTHENTICATED,
        reason: "WAYBILL_INVALID",
      });
    }
    const twice = await send(path, ["waybill", waybill], ["waybill", waybill]);
    expect(twice.report.reason).toBe("METADATA_DUPLICATED");
    expect(handled).toBe(1);
    expect(lines.filter(({ level }) => level !== "info")).toEqual([]);
    expect(JSON.stringify(lines)).not.toContain(waybill.slice(20, 60));
  });
});

describe.each([...KINDS, ["without a session", GET_PRODUCT]])(
  "a public method that is %s",
  (_kind, path) => {
    const token = `Bearer ${"abc".repeat(20)}.${"def".repeat(20)}.${"ghi".repeat(20)}`;
    const alone = (): Field[] => (path === GET_PRODUCT ? [] : [["waybill", waybill]]);

    test.each(["authorization", "dpop"])(
      "C1 refuses a value of %s that cannot be read, and does not take the caller for anonymous",
      async (key) => {
        expect(await send(path, ...alone(), [key, token])).toMatchObject({ code: status.OK });
        expect(handled).toBe(1);
        const changes = UNREADABLE.filter(([what]) => !what.includes("a space at its end"));
        for (const [what, change] of [...changes, ["nothing", () => ""] as const]) {
          const { code, report } = await send(path, ...alone(), [key, change(token)]);
          expect({ code, reason: report.reason }, what).toEqual({
            code: status.UNAUTHENTICATED,
            reason: "CREDENTIAL_INVALID",
          });
        }
        expect(handled).toBe(1);
        expect(JSON.stringify(lines)).not.toContain("abcabc");
      },
    );

    test("E2 refuses two values of authorization, of which Node would keep the first", async () => {
      const two: Field[] = [
        ["authorization", token],
        ["authorization", "Bearer a.b.c"],
      ];
      const { report } = await send(path, ...alone(), ...two);
      expect(report).toMatchObject({
        reason: "METADATA_DUPLICATED",
        metadata: { key: "authorization" },
      });
      expect(handled).toBe(0);
    });
  },
);

test("a key that a method does not read is ignored, whatever its value", async () => {
  for (const key of ["waybill", "session", "idempotency-key", "x-other"]) {
    expect(await send(GET_PRODUCT, [key, "é\t"]), key).toMatchObject({ code: status.OK });
  }
});

test("C1 a key of caching that cannot be read is refused by a method that declares a cache", async () => {
  const { cache } = contract.method(GET_PRODUCT);
  expect(cache).toBeDefined();
  for (const key of ["cache-control", "change", "if-none-match"]) {
    expect(await send(GET_PRODUCT, [key, "1"]), key).toMatchObject({ code: status.OK });
    const { report } = await send(GET_PRODUCT, [key, "1é"]);
    expect(report).toMatchObject({ reason: "METADATA_INVALID", metadata: { key } });
  }
});

test("C1 each method reads credentials, and the keys that its contract has a use for", () => {
  const session = ["waybill", "idempotency-key", "session"];
  const keys = (path: string) => keysOf(contract.method(path)).slice(2);
  for (const method of contract.methods) {
    expect(keysOf(method).slice(0, 2), method.path).toEqual(["authorization", "dpop"]);
    if (method.session === undefined) {
      for (const key of session) expect(keysOf(method), method.path).not.toContain(key);
    } else expect(keysOf(method), method.path).toContain("waybill");
  }
  expect(keys(`${CHECKOUT}UpdateItem`)).toEqual(session);
  expect(keys(`${CHECKOUT}PlaceOrder`)).toEqual(["waybill", "idempotency-key"]);
  expect(keys(`${CHECKOUT}EditItems`)).toEqual(["waybill", "idempotency-key"]);
  expect(keys(`${CHECKOUT}GetCheckout`)).toEqual(["waybill"]);
});

describe.each([...KINDS, ...HEALTH])("the limits of metadata, for %s", (kind, path) => {
  const own = (): Field[] => (path.startsWith(CHECKOUT) ? [["waybill", waybill]] : []);
  const expected = kind === "no method at all" ? status.UNIMPLEMENTED : status.OK;
  const proxies: Field[] = [
    ["x-request-id", "a"],
    ["x-forwarded-for", "a"],
    ["x-forwarded-proto", "http"],
    ["grpc-timeout", "9S"],
    ["grpc-accept-encoding", "identity"],
    ["user-agent", "a"],
  ];

  test("E3 as many keys as allowed are taken, and one more is refused with a reason", async () => {
    const keys = (count: number) =>
      Array.from({ length: count - own().length }, (_, index): Field => [`x-${index}`, "1"]);
    const most = keys(MAX_METADATA_KEYS);
    expect(await send(path, ...proxies, ...own(), ...most)).toMatchObject({ code: expected });
    for (const count of [MAX_METADATA_KEYS + 1, 200, 1000]) {
      const { report } = await send(path, ...proxies, ...own(), ...keys(count));
      expect(report, `${count} keys`).toMatchObject({
        code: status.RESOURCE_EXHAUSTED,
        reason: "METADATA_TOO_LARGE",
        metadata: { limit: `${MAX_METADATA_KEYS}`, unit: "keys" },
      });
    }
    // A field of the transport is not counted once.
    const again = Array.from({ length: 70 }, (): Field => ["x-request-id", "a"]);
    const { report } = await send(path, ...own(), ...again);
    expect(report.reason).toBe("METADATA_TOO_LARGE");
  });

  test("E3 as many bytes as allowed are taken, and one more is refused with a reason", async () => {
    const used = own().reduce((sum, [name, value]) => sum + name.length + value.length + 32, 0);
    const bytes = (count: number): Field => ["x", "v".repeat(count - used - 33)];
    const most = bytes(MAX_METADATA_BYTES);
    expect(await send(path, ...proxies, ...own(), most)).toMatchObject({ code: expected });
    for (const count of [MAX_METADATA_BYTES + 1, 32 * 1024, 60_000]) {
      const { report } = await send(path, ...proxies, ...own(), bytes(count));
      expect(report, `${count} bytes`).toMatchObject({
        code: status.RESOURCE_EXHAUSTED,
        reason: "METADATA_TOO_LARGE",
        metadata: { limit: `${MAX_METADATA_BYTES}`, unit: "bytes" },
      });
    }
  });
});

describe.each([...KINDS, ...HEALTH])("a request that is not gRPC, for %s", (_kind, path) => {
  test("a method other than POST is not allowed", async () => {
    for (const method of ["PUT", "GET", "DELETE", "OPTIONS", "PATCH", "HEAD"]) {
      const request = { method, fields: [["waybill", waybill]] as Field[], body: bodyOf(path) };
      const response = await rawCall(target, path, request);
      const expected = { http: 405, code: -1, headers: { allow: "POST" } };
      expect(response, method).toMatchObject(expected);
    }
    expect(handled).toBe(0);
  });

  test("a media type that only begins like gRPC's is not supported", async () => {
    for (const type of [
      "application/grpcfoo",
      "application/grpc-web",
      "application/grpc-web+proto",
      "application/grp",
      "application/json",
      "",
    ]) {
      const response = await rawCall(target, path, { type, fields: [["waybill", waybill]] });
      expect(response, type).toMatchObject({ http: 415, code: -1 });
    }
    expect(handled).toBe(0);
  });
});

test("the media types of gRPC are taken, also with a subtype or a parameter", async () => {
  for (const type of ["application/grpc", "application/grpc+proto", "application/grpc;a=b"]) {
    for (const [, path] of KINDS) {
      const response = await rawCall(target, path, {
        type,
        fields: [["waybill", waybill]],
        body: bodyOf(path),
      });
      expect(response, `${type} ${path}`).toMatchObject({ code: status.OK });
    }
  }
});

test("a response does not repeat a path, an encoding or a timeout of any length", async () => {
  const long = "x".repeat(10_000);
  const responses = [
    await rawCall(target, `/${long}`),
    await rawCall(target, `${CHECKOUT}${long}`),
    ...(await Promise.all(
      KINDS.flatMap(([, path]) =>
        ["grpc-encoding", "grpc-timeout"].map((key) =>
          send(path, ["waybill", waybill], [key, long]),
        ),
      ),
    )),
  ];
  for (const { http, headers, code } of responses) {
    expect(http).toBe(200);
    expect(code).toBeGreaterThan(0);
    expect(JSON.stringify(headers).length).toBeLessThan(1000);
  }
});
