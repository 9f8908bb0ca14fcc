import { expect, test } from "vitest";
import { CheckoutItem, DeliverySpeed } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { dollars } from "../orders/money.ts";
import { deliveryOptions } from "./delivery.ts";

const items = [CheckoutItem.create({ quantity: 2 }), CheckoutItem.create({ quantity: 3 })];

test("charges per parcel and piece, by region and speed", () => {
  const { DELIVERY_SPEED_STANDARD: standard, DELIVERY_SPEED_EXPRESS: express } = DeliverySpeed;
  expect(deliveryOptions(items, "US")).toEqual([
    { deliverySpeed: standard, price: dollars(499 + 5 * 50), days: 5 },
    { deliverySpeed: express, price: dollars(1299 + 5 * 100), days: 2 },
  ]);
  expect(deliveryOptions(items, "DE")).toEqual([
    { deliverySpeed: standard, price: dollars(1499 + 5 * 150), days: 10 },
    { deliverySpeed: express, price: dollars(3499 + 5 * 300), days: 4 },
  ]);
});
