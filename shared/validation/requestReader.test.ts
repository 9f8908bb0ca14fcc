import { expect, test } from "vitest";
import {
  BatchGetProductsRequest,
  CatalogServiceService,
  ListProductsRequest,
} from "../../proto/gen/waybill/catalog/v1/catalog.ts";
import {
  AddItemRequest,
  CheckoutServiceService,
  SetAddressRequest,
} from "../../proto/gen/waybill/checkout/v1/checkout.ts";
import {
  BeginSessionRequest,
  SessionServiceService,
} from "../../proto/gen/waybill/session/v1/session.ts";
import { ADDRESS } from "../../test/support/callers/shopper.ts";
import { contract } from "../../test/support/clients.ts";
import { MAX_VIOLATIONS, StatusError } from "../errors.ts";
import { type Decode, requestReader } from "./requestReader.ts";

const SERVICES = [CatalogServiceService, CheckoutServiceService, SessionServiceService];
const methods = new Map(
  SERVICES.flatMap((service) => Object.values(service).map((each) => [each.path, each])),
);

function readerOf(path: string, decode?: Decode): Decode {
  const { request } = contract.method(path);
  return requestReader(contract.registry, request, decode ?? methods.get(path)!.requestDeserialize);
}

/** The fields at fault, each with its description. */
function violationsOf(read: Decode, bytes: Uint8Array): string[] {
  try {
    read(Buffer.from(bytes));
  } catch (error) {
    expect(error).toBeInstanceOf(StatusError);
    expect((error as StatusError).reason).toBe("INVALID_FIELD");
    return (error as StatusError).details.violations!.map(({ field, description }) => {
      expect(description).not.toBe("");
      return field;
    });
  }
  return [];
}

const addItem = readerOf("/waybill.checkout.v1.CheckoutService/AddItem");
const listProducts = readerOf("/waybill.catalog.v1.CatalogService/ListProducts");
const batch = readerOf("/waybill.catalog.v1.CatalogService/BatchGetProducts");
const setAddress = readerOf("/waybill.checkout.v1.CheckoutService/SetAddress");
const beginSession = readerOf("/waybill.session.v1.SessionService/BeginSession");

test("accepts messages within their constraints", () => {
  const good = AddItemRequest.encode({ product: "products/7", quantity: 99 }).finish();
  expect(violationsOf(addItem, good)).toEqual([]);
  const list = ListProductsRequest.create({ pageSize: 1000, orderBy: "price desc" });
  expect(violationsOf(listProducts, ListProductsRequest.encode(list).finish())).toEqual([]);
});

test("names each field at fault", () => {
  const bad = AddItemRequest.encode({ product: "films/7", quantity: 100 }).finish();
  expect(violationsOf(addItem, bad)).toEqual(["product", "quantity"]);
});

test("names list elements by index and nested fields by path", () => {
  const names = ["products/1", "films/2", "products/3", "products/04"];
  expect(violationsOf(batch, BatchGetProductsRequest.encode({ names }).finish())).toEqual([
    "names[1]",
    "names[3]",
  ]);
  const address = { ...ADDRESS, regionCode: "" };
  const nested = SetAddressRequest.encode({ address }).finish();
  expect(violationsOf(setAddress, nested)).toEqual(["address"]);
});

test("R1 names a bounded number of violations", () => {
  const names = Array.from({ length: 100 }, (_, index) => `films/${index}`);
  const many = BatchGetProductsRequest.encode({ names }).finish();
  expect(violationsOf(batch, many)).toHaveLength(MAX_VIOLATIONS);
});

test("R2 counts elements before it decodes or evaluates a rule", () => {
  let decoded = 0;
  const read = readerOf("/waybill.catalog.v1.CatalogService/BatchGetProducts", (bytes) => {
    decoded += 1;
    return BatchGetProductsRequest.decode(bytes);
  });
  decoded = 0;
  const names = Array.from({ length: 100 }, (_, index) => `products/${index + 1}`);
  expect(violationsOf(read, BatchGetProductsRequest.encode({ names }).finish())).toEqual([]);
  expect(decoded).toBe(1);
  names.push("products/101");
  expect(violationsOf(read, BatchGetProductsRequest.encode({ names }).finish())).toEqual(["names"]);
  expect(violationsOf(read, Buffer.from("0a00".repeat(30_000), "hex"))).toEqual(["names"]);
  expect(decoded).toBe(1);
});

test("V6 keeps the key `__proto__` as data", () => {
  const json = JSON.parse('{"a": {"__proto__": {"b": 1}}, "__proto__": 2, "constructor": 3}');
  const request = { state: { value: { $case: "json" as const, value: json } } };
  const bytes = BeginSessionRequest.encode(BeginSessionRequest.create(request)).finish();
  const read = beginSession(Buffer.from(bytes)) as BeginSessionRequest;
  expect(JSON.stringify(read.state!.value!.value)).toBe(JSON.stringify(json));
  expect(BeginSessionRequest.encode(read).finish()).toEqual(bytes);
});

test("V6 refuses the key `__proto__` where generated code cannot hold it", () => {
  const path = "/waybill.session.v1.SessionService/BeginSession";
  // As ts-proto generates it: an assignment, which sets the prototype in place of an entry.
  const losing = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(losing);
    if (typeof value !== "object" || value === null || Buffer.isBuffer(value)) return value;
    const copy: Record<string, unknown> = {};
    for (const [key, each] of Object.entries(value)) copy[key] = losing(each);
    return copy;
  };
  const read = readerOf(path, (bytes) => losing(BeginSessionRequest.decode(bytes)));
  const encode = (json: object) =>
    BeginSessionRequest.encode(
      BeginSessionRequest.create({ state: { value: { $case: "json", value: json } } }),
    ).finish();
  expect(violationsOf(read, encode({ proto: 1 }))).toEqual([]);
  expect(violationsOf(read, encode(JSON.parse('{"__proto__": 1}')))).toEqual(["state.json.fields"]);
});

test("refuses generated code of another message, or with names of its own", () => {
  const path = "/waybill.checkout.v1.CheckoutService/AddItem";
  expect(() => readerOf(path, (bytes) => SetAddressRequest.decode(bytes))).toThrow(
    /AddItemRequest.*`product`/,
  );
  const renamed: Decode = (bytes) => {
    const { product, quantity } = AddItemRequest.decode(bytes);
    return { product, amount: quantity };
  };
  expect(() => readerOf(path, renamed)).toThrow(/AddItemRequest.*`quantity`/);
  // No rule looks at it.
  expect(() => readerOf("/waybill.checkout.v1.CheckoutService/GetCheckout", () => 1)).not.toThrow();
});

test("checks objects in the other forms that ts-proto has", () => {
  const { request } = contract.method("/waybill.session.v1.SessionService/BeginSession");
  const asFields: Decode = (bytes) => {
    const { state, ...rest } = BeginSessionRequest.decode(bytes);
    const value = state?.value;
    return {
      ...rest,
      state: state && {
        json: value?.$case === "json" ? value.value : undefined,
        message: value?.$case === "message" ? value.value : undefined,
      },
    };
  };
  const read = requestReader(contract.registry, request, asFields);
  const json = { state: { value: { $case: "json" as const, value: { a: 1 } } } };
  const good = BeginSessionRequest.encode(BeginSessionRequest.create(json)).finish();
  expect(violationsOf(read, good)).toEqual([]);
  expect(violationsOf(read, Buffer.from("0a00", "hex"))).toEqual(["state.value"]);
  expect(violationsOf(read, Buffer.alloc(0))).toEqual(["state"]);
});
