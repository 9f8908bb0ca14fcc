import { describe, expect, test } from "vitest";
import type { Context } from "waybill";
import { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import type { CheckoutDependencies } from "../index.ts";
import { quoteCheckout } from "../orders/quoteCheckout.ts";
import { addItem } from "./addItem.ts";
import { MAX_QUANTITY } from "./basket.ts";
import { setItem } from "./items.ts";
import { updateItem } from "./updateItem.ts";
import { uploadItems } from "./uploadItems.ts";

const PRODUCT = "products/7";
const BAD = [-1000, -1, 0, 0.5, Number.NaN, MAX_QUANTITY + 1, 2 ** 31 - 1, -(2 ** 31)];

/** Every product costs one dollar. */
const price = { currencyCode: "USD", units: 1n, nanos: 0 };
const catalog = {
  getProduct: async () => ({ title: "A film", price }),
  batchGetProducts: async ({ names }: { names: string[] }) => ({
    products: names.map(() => ({ price })),
  }),
} as unknown as CheckoutDependencies["catalog"];
const dependencies = { catalog } as CheckoutDependencies;

function basket(quantity: number): { context: Context<CheckoutState>; state: CheckoutState } {
  const item = { product: PRODUCT, title: "A film", unitPrice: price, quantity };
  const state = CheckoutState.create({
    items: [item],
    address: { regionCode: "US", locality: "x", addressLines: ["x"] },
    deliverySpeed: 1,
  });
  return { state, context: { session: { state } } as Context<CheckoutState> };
}

// The handlers run without the request's constraints.
describe("V7 the basket itself refuses", () => {
  for (const quantity of BAD) {
    test(`a quantity of ${quantity}`, async () => {
      const { state, context } = basket(10);
      const before = structuredClone(state.items);
      async function* uploads() {
        yield { product: PRODUCT, quantity };
      }
      const calls = [
        () => addItem(dependencies)({ product: PRODUCT, quantity }, context),
        () => uploadItems(dependencies)(uploads(), context),
        () => updateItem({ product: PRODUCT, quantity }, context),
      ];
      if (quantity !== 0)
        calls.push(() => setItem({ product: PRODUCT, quantity }, catalog, context) as never);
      for (const call of calls) {
        await expect(call()).rejects.toMatchObject({
          reason: quantity > MAX_QUANTITY ? "TOO_MANY_ITEMS" : "INVALID_FIELD",
        });
      }
      expect(state.items).toEqual(before);
      // An earlier program may have sealed such a state.
      const old = basket(quantity);
      await expect(quoteCheckout(dependencies)({}, old.context)).rejects.toMatchObject({
        reason: quantity > MAX_QUANTITY ? "TOO_MANY_ITEMS" : "INVALID_FIELD",
      });
    });
  }
  test("but accepts a valid quantity", async () => {
    const { state, context } = basket(10);
    await addItem(dependencies)({ product: PRODUCT, quantity: 2 }, context);
    await updateItem({ product: PRODUCT, quantity: MAX_QUANTITY }, context);
    expect(state.items[0]!.quantity).toBe(MAX_QUANTITY);
    expect((await quoteCheckout(dependencies)({}, context)).quote!.itemsTotal!.units).toBe(99n);
  });
});
