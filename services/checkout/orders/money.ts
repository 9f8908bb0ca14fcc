import type { Money } from "#proto/google/type/money.ts";

const NANOS = 1_000_000_000n;

/** Converts whole US cents to Money. */
export function dollars(cents: number): Money {
  return fromNanos(BigInt(cents) * 10_000_000n, "USD");
}

/** @throws RangeError if the currencies differ */
export function add(a: Money, b: Money): Money {
  if (a.currencyCode !== b.currencyCode) {
    throw new RangeError(`cannot add ${b.currencyCode} to ${a.currencyCode}`);
  }
  return fromNanos(toNanos(a) + toNanos(b), a.currencyCode);
}

/** @param times a whole number */
export function multiply(money: Money, times: number): Money {
  return fromNanos(toNanos(money) * BigInt(times), money.currencyCode);
}

function toNanos(money: Money): bigint {
  return money.units * NANOS + BigInt(money.nanos);
}

// Division truncates towards zero, so units and nanos have the same sign, as google.type.Money requires.
function fromNanos(nanos: bigint, currencyCode: string): Money {
  return { currencyCode, units: nanos / NANOS, nanos: Number(nanos % NANOS) };
}
