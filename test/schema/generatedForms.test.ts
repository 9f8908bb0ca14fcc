import { create, type DescMessage, toBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { StatusError } from "#shared/errors.ts";
import { type Decode, requestReader } from "#shared/validation/requestReader.ts";
import { FormsGenerator, OWN_OPTIONS } from "../support/wire/generatedForms.ts";

let forms: FormsGenerator;
let message: DescMessage;
beforeAll(() => {
  forms = new FormsGenerator();
  message = forms.contract.method("/forms.v1.FormsService/Check").request;
});
afterAll(() => forms?.remove());

/** The options that the README names, and those that Node needs to run the code. */
const BASE = ["outputServices=grpc-js", "unknownFields=true", "importSuffix=.ts"];
const READABLE = [...BASE, "enumsAsLiterals=true"];

const LEAST = { textValue: "abc", node: { name: "n" }, choice: { case: "aText", value: "x" } };
const FULL = {
  ...LEAST,
  ...{ bigOne: 5n, bigTwo: 2n ** 53n - 1n, maybeInt: 3, color: 2 },
  at: { seconds: 100n, nanos: 5_000_000 },
  dur: { seconds: 2n, nanos: 5 },
  mask: { paths: ["a", "b"] },
  any: { typeUrl: "type.googleapis.com/forms.v1.Node" },
  ...{ wrapped: 5n, wrappedText: "x", json: { a: [1, { b: null }] } },
  val: { kind: { case: "nullValue", value: 0 } },
  byInt: { 1: "x", [-1]: "y" },
  byText: { k: { name: "q", kids: [{ name: "r" }] } },
  byBool: { true: 3n, false: -3n },
  byLong: { "5": 1 },
  tree: {
    ...{ leafName: "a", leftTree: { leafName: "b", constructor$: {} } },
    whichWay: { case: "anyOf", value: { whichWay: { case: "oneText", value: "c" } } },
  },
  ...{ longs: [3n, 4n], times: [{ seconds: 3n }], wraps: [{ value: 3n }], colors: [1, 2] },
  choice: { case: "aWrap", value: { value: 3n } },
  ...{ structs: [{ a: 1 }], structMap: { k: { a: 1 } }, timeMap: { k: { seconds: 3n } } },
};

/** Changes that violate one rule each, by the field that the error names. */
const BREAKING: Record<string, Record<string, unknown>> = {
  text_value: { textValue: "abcdef" },
  big_one: { bigOne: 101n },
  maybe_int: { maybeInt: 0 },
  color: { color: 9 },
  at: { at: { seconds: 1n } },
  dur: { dur: { seconds: 11n } },
  any: { any: { typeUrl: "x/y" } },
  wrapped: { wrapped: 101n },
  wrapped_text: { wrappedText: "abcdef" },
  "by_int[1]": { byInt: { 1: "abcdef" } },
  "by_bool[true]": { byBool: { true: 101n } },
  'by_text["k"].next.name': { byText: { k: { next: { name: "abcdef" } } } },
  "longs[1]": { longs: [1n, 101n] },
  longs: { longs: Array.from({ length: 11 }, () => 1n) },
  node: { node: undefined },
  "node.kids[0].name": { node: { kids: [{ name: "abcdef" }] } },
  raw: { raw: new Uint8Array(6) },
  "colors[0]": { colors: [9] },
  choice: { choice: { case: undefined } },
  a_text: { choice: { case: "aText", value: "abcdef" } },
  a_long: { choice: { case: "aLong", value: 101n } },
  url_2path: { url2path: "abcdef" },
  HTTPName: { HTTPName: "abcdef" },
  line_1: { line1: "abcdef" },
  constructor: { constructor$: 101 },
  "long_nodes[1000].name": { longNodes: { 1000: { name: "abcdef" } } },
  "tree.left_tree.leaf_name": { tree: { leftTree: { leafName: "abcdef" } } },
  "tree.left_tree.constructor.leaf_name": {
    tree: { leftTree: { constructor$: { leafName: "abcdef" } } },
  },
  "tree.any_of.leaf_name": { tree: { whichWay: { case: "anyOf", value: { leafName: "abcdef" } } } },
};

function violationsOf(read: Decode, init: Record<string, unknown>): string[] {
  try {
    read(Buffer.from(toBinary(message, create(message, init))));
    return [];
  } catch (error) {
    return (error as StatusError).details.violations!.map(({ field }) => field);
  }
}

describe("reads and checks code that ts-proto generates", () => {
  test.each([
    ["with this project's options", OWN_OPTIONS],
    ["with the README's options", READABLE],
    ["with times as messages", [...READABLE, "useDate=false"]],
    ["with times as text", [...READABLE, "useDate=string"]],
    ["with times as Temporal.Instant", [...READABLE, "useDate=temporal"]],
    ["with defaults left out", [...READABLE, "noDefaultsForOptionals=true"]],
    ["with 64-bit integers as Long", [...READABLE, "forceLong=long"]],
    ["with 64-bit integers as text", [...READABLE, "forceLong=string"]],
    ["with 64-bit integers as bigint", [...READABLE, "forceLong=bigint"]],
    ["with oneofs as unions", [...READABLE, "oneof=unions"]],
    ["with enums as text", [...READABLE, "stringEnums=true"]],
    ["with the protos' own names", [...READABLE, "snakeToCamel=false"]],
    ["with the protos' own names and unions", [...READABLE, "snakeToCamel=false", "oneof=unions"]],
    ["with maps as Map", [...READABLE, "useMapType=true"]],
    ["with optional fields", [...READABLE, "useOptionals=all"]],
    ["for browsers", [...READABLE, "env=browser"]],
  ])("%s", async (_name, options) => {
    const { Forms } = await forms.generate(options);
    const read = requestReader(forms.contract.registry, message, (bytes) => Forms!.decode(bytes));
    expect(violationsOf(read, LEAST)).toEqual([]);
    expect(violationsOf(read, FULL)).toEqual([]);
    for (const [field, change] of Object.entries(BREAKING)) {
      expect(violationsOf(read, { ...LEAST, ...change })).toEqual([field]);
    }
  });
});

test("names the field that a view cannot read", async () => {
  const { Forms } = await forms.generate([...READABLE, "useNullAsOptional=true"]);
  const { registry } = forms.contract;
  expect(() => requestReader(registry, message, (bytes) => Forms!.decode(bytes))).toThrow(/`json`/);
});
