import type { DeliveryOption } from "#proto/waybill/checkout/v1/checkout.ts";
import { type CheckoutItem, DeliverySpeed } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { dollars } from "../orders/money.ts";

const HOME = "US";

interface Rate {
  readonly speed: DeliverySpeed;
  readonly days: number;
  readonly cents: number;
  readonly centsAPiece: number;
}

const RATES: Record<"home" | "abroad", readonly Rate[]> = {
  home: [
    { speed: DeliverySpeed.DELIVERY_SPEED_STANDARD, days: 5, cents: 499, centsAPiece: 50 },
    { speed: DeliverySpeed.DELIVERY_SPEED_EXPRESS, days: 2, cents: 1299, centsAPiece: 100 },
  ],
  abroad: [
    { speed: DeliverySpeed.DELIVERY_SPEED_STANDARD, days: 10, cents: 1499, centsAPiece: 150 },
    { speed: DeliverySpeed.DELIVERY_SPEED_EXPRESS, days: 4, cents: 3499, centsAPiece: 300 },
  ],
};

/**
 * Returns the delivery options with their prices: a charge per parcel and per piece, higher abroad (outside
 * the United States) and for express.
 *
 * @param regionCode ISO 3166-1 alpha-2
 */
export function deliveryOptions(items: CheckoutItem[], regionCode: string): DeliveryOption[] {
  const pieces = items.reduce((sum, item) => sum + item.quantity, 0);
  return RATES[regionCode === HOME ? "home" : "abroad"].map((rate) => ({
    deliverySpeed: rate.speed,
    price: dollars(rate.cents + pieces * rate.centsAPiece),
    days: rate.days,
  }));
}
