import { expect, test } from "vitest";
import {
  type CheckoutItem,
  CheckoutState,
} from "../../../proto/gen/waybill/checkout/v1/checkout_state.ts";
import { keepUnknown, letGo, unknownOf } from "./unknownFields.ts";

/** Field 200, a string: unknown to every program here. */
const UNKNOWN = Buffer.from("c20c036e6577", "hex");
const money = { currencyCode: "USD", units: 1n, nanos: 0 };

/** A state with something unknown at the top, and in its quote. */
function decoded(): CheckoutState {
  const quote = Buffer.concat([CheckoutQuote(), UNKNOWN]);
  const state = Buffer.concat([
    CheckoutState.encode(CheckoutState.create({ order: "orders/1" })).finish(),
    Buffer.from([tagOfQuote(), quote.length]),
    quote,
    UNKNOWN,
  ]);
  return CheckoutState.decode(state);
}
function encodedQuote(): Buffer {
  const whole = CheckoutState.encode(
    CheckoutState.create({ quote: { itemsTotal: money, delivery: money, total: money } }),
  ).finish();
  return Buffer.from(whole);
}
const tagOfQuote = () => encodedQuote()[0]!;
const CheckoutQuote = () => encodedQuote().subarray(2);
const countOf = (state: CheckoutState) => {
  const bytes = Buffer.from(CheckoutState.encode(state).finish());
  let count = 0;
  for (let at = bytes.indexOf(UNKNOWN); at >= 0; at = bytes.indexOf(UNKNOWN, at + 1)) count += 1;
  return count;
};

test("a state that is wholly known costs nothing", () => {
  expect(
    unknownOf(CheckoutState.create({ quote: { itemsTotal: money } } as never)),
  ).toBeUndefined();
});

test("what a handler leaves out by putting a fresh object there is put back", () => {
  const before = decoded();
  const unknown = unknownOf(before)!;
  const { quote, order } = before;
  const fresh = { ...CheckoutState.create(), order: `${order}2`, quote };
  expect(countOf(fresh)).toBe(1);
  keepUnknown(fresh, unknown);
  expect(countOf(fresh)).toBe(2);
});

test("a message that is edited in place, or taken out, keeps what it has or takes it along", () => {
  const before = decoded();
  const unknown = unknownOf(before)!;
  before.quote!.total!.units = 9n;
  keepUnknown(before, unknown);
  expect(countOf(before)).toBe(2);
  before.quote = undefined;
  keepUnknown(before, unknown);
  expect(countOf(before)).toBe(1);
});

test("a message that is put in the place of another is refused by its name", () => {
  const before = decoded();
  const unknown = unknownOf(before)!;
  before.quote = { itemsTotal: money, delivery: money, total: money };
  expect(() => keepUnknown(before, unknown)).toThrow("the state's quote was replaced");
});

/** A state with three items, of which the first has something unknown and the second in its price. */
function decodedItems(): CheckoutState {
  const unknown = { 1602: [UNKNOWN.subarray(2)] };
  return CheckoutState.decode(
    CheckoutState.encode({
      ...CheckoutState.create(),
      items: [
        { ...item("a"), _unknownFields: unknown },
        { ...item("b"), unitPrice: { ...money, _unknownFields: unknown } },
        item("c"),
      ],
    }).finish(),
  );
}
const item = (product: string): CheckoutItem => ({
  product,
  title: "",
  unitPrice: money,
  quantity: 1,
});

test.each<[string, number, (items: CheckoutItem[]) => CheckoutItem[]]>([
  ["changed in place", 2, ([a, ...rest]) => [Object.assign(a!, { quantity: 9 }), ...rest]],
  ["moved", 2, (items) => items.reverse()],
  ["joined by a fresh one", 2, (items) => [item("d"), ...items]],
  ["copied with what they have", 2, (items) => items.map((each) => ({ ...each, quantity: 2 }))],
  ["decoded anew", 2, (items) => structuredClone(items)],
  ["taken out", 1, (items) => items.slice(1)],
  ["all taken out", 0, () => []],
  [
    "copied, but for one",
    1,
    (items) => items.slice(0, 2).flatMap((each, at) => (at ? { ...each } : [])),
  ],
])("elements of a list that are %s keep what they have, or take it along", (_, count, change) => {
  const state = decodedItems();
  const unknown = unknownOf(state)!;
  expect(countOf(state)).toBe(2);
  state.items = change(state.items);
  keepUnknown(state, unknown);
  expect(countOf(state)).toBe(count);
});

test.each<[string, string, (items: CheckoutItem[]) => CheckoutItem[]]>([
  [
    "the one that has something",
    "elements of the state's items",
    ([, ...rest]) => [item("a"), ...rest],
  ],
  [
    "the one that has something within",
    "elements of the state's items",
    ([a, , c]) => [a!, item("b"), c!],
  ],
  ["all", "elements of the state's items", (items) => items.map(({ product }) => item(product))],
  [
    "what is within one",
    "the state's items.1.unitPrice was replaced",
    (items) => items.map((each) => Object.assign(each, { unitPrice: money })),
  ],
  [
    "a copy's own",
    "elements of the state's items",
    (items) => items.map((each) => ({ ...each, unitPrice: money })),
  ],
])("a list is refused in which a handler replaces %s by something fresh", (_, words, change) => {
  const state = decodedItems();
  const unknown = unknownOf(state)!;
  state.items = change(state.items);
  expect(() => keepUnknown(state, unknown)).toThrow(words);
});

test("what a handler lets go may be replaced", () => {
  const state = decoded();
  const unknown = unknownOf(state)!;
  letGo(state.quote);
  state.quote = { itemsTotal: money, delivery: money, total: money };
  keepUnknown(state, unknown);
  expect(countOf(state)).toBe(1);
  const other = decodedItems();
  const brought = unknownOf(other)!;
  letGo(other.items[1]);
  other.items[1] = item("d");
  keepUnknown(other, brought);
  expect(countOf(other)).toBe(1);
  other.items[0] = item("e");
  expect(() => keepUnknown(other, brought)).toThrow("elements of the state's items");
});

test("an element may be copied in which something was let go, or taken out", () => {
  const state = decodedItems();
  const own = { 1602: [UNKNOWN.subarray(2)] };
  state.items[1]!._unknownFields = own;
  const unknown = unknownOf(state)!;
  letGo(state.items[1]!.unitPrice);
  state.items[1] = { ...state.items[1]!, unitPrice: money };
  keepUnknown(state, unknown);
  expect(state.items[1]._unknownFields).toEqual(own);
});

test("of maps each value is its key's; of a oneof the branch may be another", () => {
  const has = () => ({ _unknownFields: { 1602: [UNKNOWN.subarray(2)] } });
  for (const [make, set] of [
    [
      () => ({ byId: new Map<bigint, object>([[1n, has()]]) }),
      ({ byId }: never, value: object) => (byId as Map<bigint, object>).set(1n, value),
    ],
    [
      () => ({ byName: { one: has() } }),
      ({ byName }: never, value: object) => Object.assign(byName, { one: value }),
    ],
  ] as const) {
    const state = make();
    const unknown = unknownOf(state)!;
    set(state as never, {});
    expect(() => keepUnknown(state, unknown)).toThrow(/the state's by(Id.1|Name.one) was replaced/);
  }
  const state: Record<string, unknown> = { choice: { $case: "d", value: has() } };
  const unknown = unknownOf(state)!;
  state["choice"] = { $case: "d", value: {} };
  expect(() => keepUnknown(state, unknown)).toThrow("the state's choice.value was replaced");
  state["choice"] = { $case: "e", value: {} };
  keepUnknown(state, unknown);
});

test("JSON that happens to have such a name is nothing unknown", () => {
  expect(
    unknownOf({ json: { _unknownFields: { 1602: ["new"] }, list: [1, null] } }),
  ).toBeUndefined();
});
