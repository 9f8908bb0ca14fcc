import { expect, test } from "vitest";
import type { Context } from "waybill";
import { Product } from "#proto/waybill/catalog/v1/catalog.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { keepUnknown, unknownOf } from "#shared/waybill/state/unknownFields.ts";
import { setAddress } from "../delivery/setAddress.ts";
import { quoteCheckout } from "./quoteCheckout.ts";

const money = { currencyCode: "USD", units: 1n, nanos: 0 };
/** A field of a newer program. */
const newer = { _unknownFields: { 1602: [Buffer.from("01ff", "hex")] } };
const address = {
  revision: 0,
  regionCode: "US",
  languageCode: "",
  postalCode: "94043",
  sortingCode: "",
  administrativeArea: "",
  locality: "Mountain View",
  sublocality: "",
  addressLines: [],
  recipients: ["Ada"],
  organization: "",
};

test("replaces a quote and an address with fields of newer programs", async () => {
  const state: CheckoutState = {
    items: [{ product: "products/1", title: "", unitPrice: money, quantity: 1, ...newer }],
    address: { ...address, ...newer },
    deliverySpeed: 1,
    quote: { itemsTotal: money, delivery: money, total: { ...money, ...newer }, ...newer },
    order: "",
  };
  const context = { session: { state } } as Context<CheckoutState>;
  const brought = unknownOf(state)!;
  const batchGetProducts = async () => ({ products: [Product.create({ price: money })] });
  const quote = quoteCheckout({ catalog: { batchGetProducts } as never });
  await quote({}, context);
  await setAddress({} as never)({ address }, context);
  await quote({}, context);
  keepUnknown(state, brought);
  expect(state.quote?._unknownFields).toBeUndefined();
  expect(state.items[0]?._unknownFields).toEqual(newer._unknownFields);
});
