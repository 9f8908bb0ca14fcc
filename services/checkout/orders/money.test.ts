import fc from "fast-check";
import { expect, test } from "vitest";
import { add, dollars, multiply } from "./money.ts";

const cents = fc.integer({ min: -1_000_000_000, max: 1_000_000_000 });

test("adds and multiplies exactly", () => {
  fc.assert(
    fc.property(cents, cents, fc.integer({ min: 0, max: 99 }), (a, b, times) => {
      expect(add(dollars(a), dollars(b))).toEqual(dollars(a + b));
      expect(multiply(dollars(a), times)).toEqual(dollars(a * times));
    }),
  );
});

test("gives units and nanos the same sign", () => {
  expect(dollars(-175)).toEqual({ currencyCode: "USD", units: -1n, nanos: -750_000_000 });
});

test("refuses to add different currencies", () => {
  expect(() => add(dollars(1), { ...dollars(1), currencyCode: "EUR" })).toThrow(RangeError);
});
