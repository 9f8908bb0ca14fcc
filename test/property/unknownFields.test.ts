import fc from "fast-check";
import { expect, test } from "vitest";
import { type CheckoutItem, CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { keepUnknown, unknownOf } from "#shared/waybill/state/unknownFields.ts";
import { runs } from "../support/random.ts";

/** Field 200, bytes: unknown to every program here. */
const TAG = 1602;

/** How a handler changes an element; `rebuild` copies the fields that it knows into a new one. */
type Deed = "leave" | "edit" | "copy" | "remove" | "rebuild";

/** A received element with unknown fields, its own and its price's. Few values, so that some are equal. */
const unknowns = fc.option(fc.constantFrom("01ff", "0101"), { nil: undefined });
const element = fc.record({
  own: unknowns,
  price: unknowns,
  deed: fc.constantFrom<Deed>("leave", "edit", "copy", "remove", "rebuild"),
});

const given = fc.record({
  elements: fc.array(element, { maxLength: 6 }),
  added: fc.nat({ max: 2 }),
  seed: fc.infiniteStream(fc.nat({ max: 1000 })),
});

const message = (unknown: string | undefined) =>
  unknown === undefined ? {} : { _unknownFields: { [TAG]: [Buffer.from(unknown, "hex")] } };
const fresh = (product: string): CheckoutItem => ({
  product,
  title: "",
  unitPrice: { currencyCode: "USD", units: 1n, nanos: 0 },
  quantity: 1,
});

/** An element after the handler. */
function left(item: CheckoutItem, deed: Deed): CheckoutItem[] {
  if (deed === "edit") item.quantity += 1;
  if (deed === "copy") return [{ ...item, quantity: item.quantity + 1 }];
  if (deed === "remove") return [];
  if (deed === "rebuild") return [fresh(item.product)];
  return [item];
}

/** The unknown fields of each product, read from its bytes. */
function unknownBytes(state: CheckoutState): Map<string, string> {
  const { items } = CheckoutState.decode(CheckoutState.encode(state).finish());
  const hex = (each: { _unknownFields?: Record<number, Uint8Array[]> | undefined }) =>
    Buffer.concat(each._unknownFields?.[TAG] ?? []).toString("hex");
  return new Map(items.map((item) => [item.product, `${hex(item)} ${hex(item.unitPrice!)}`]));
}

test("list changes keep each element's unknown fields", () => {
  const outcomes = { kept: 0, refused: 0 };
  fc.assert(
    fc.property(given, ({ elements, added, seed }) => {
      const state = CheckoutState.decode(
        CheckoutState.encode({
          ...CheckoutState.create(),
          items: elements.map(({ own, price }, index) => {
            const item = fresh(`${index}`);
            return {
              ...item,
              unitPrice: { ...item.unitPrice!, ...message(price) },
              ...message(own),
            };
          }),
        }).finish(),
      );
      const before = unknownBytes(state);
      const unknown = unknownOf(state);
      const order = new Map<CheckoutItem, number>();
      const place = (item: CheckoutItem) => {
        if (!order.has(item)) order.set(item, seed.next().value);
        return order.get(item)!;
      };
      state.items = state.items
        .flatMap((item, index) => left(item, elements[index]!.deed))
        .concat(Array.from({ length: added }, (_, index) => fresh(`added ${index}`)))
        .sort((a, b) => place(a) - place(b));
      let isRefused = false;
      try {
        if (unknown !== undefined) keepUnknown(state, unknown);
      } catch {
        isRefused = true;
      }
      outcomes[isRefused ? "refused" : "kept"] += 1;
      const losing = (deed: Deed) =>
        elements.some((each) => each.deed === deed && (each.own ?? each.price) !== undefined);
      if (isRefused) {
        // Refused only if an element with unknown fields is missing, and a new one may have replaced it.
        expect(losing("rebuild") || losing("remove")).toBe(true);
        const isBare = ({ own, price }: (typeof elements)[number]) => (own ?? price) === undefined;
        expect(
          added > 0 ||
            elements.some(({ deed }) => deed === "rebuild") ||
            elements.some((each) => each.deed === "copy" && isBare(each)),
        ).toBe(true);
        return;
      }
      const after = unknownBytes(state);
      for (const [product, bytes] of before) {
        if (after.has(product)) expect(after.get(product), product).toBe(bytes);
      }
    }),
    { numRuns: runs(3000) },
  );
  // Both outcomes occur.
  expect(outcomes.kept).toBeGreaterThan(runs(300));
  expect(outcomes.refused).toBeGreaterThan(runs(300));
});
