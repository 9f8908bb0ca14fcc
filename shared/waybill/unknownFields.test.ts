import { expect, test } from "vitest";
import { CheckoutState } from "../../proto/gen/waybill/checkout/v1/checkout_state.ts";
import { keepUnknown, unknownOf } from "./unknownFields.ts";

/** Field 200, a string: nobody here knows it. */
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
