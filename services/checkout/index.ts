import type { CheckoutServiceService } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import type { Handlers } from "#shared/contract/handlers.ts";
import { addItem } from "./addItem.ts";
import { beginCheckout } from "./beginCheckout.ts";
import { bindCheckout } from "./bindCheckout.ts";
import { chooseDelivery } from "./chooseDelivery.ts";
import { editItems } from "./editItems.ts";
import { endCheckout } from "./endCheckout.ts";
import { getCheckout } from "./getCheckout.ts";
import { getOrder } from "./getOrder.ts";
import { listDeliveryOptions } from "./listDeliveryOptions.ts";
import { listOrders } from "./listOrders.ts";
import type { CheckoutParts } from "./parts.ts";
import { placeOrder } from "./placeOrder.ts";
import { quoteCheckout } from "./quoteCheckout.ts";
import { removeItem } from "./removeItem.ts";
import { resumeCheckout } from "./resumeCheckout.ts";
import { setAddress } from "./setAddress.ts";
import { setItems } from "./setItems.ts";
import { updateItem } from "./updateItem.ts";
import { uploadItems } from "./uploadItems.ts";

export function checkoutHandlers(
  parts: CheckoutParts,
): Handlers<typeof CheckoutServiceService, CheckoutState> {
  return {
    beginCheckout,
    bindCheckout,
    getCheckout,
    addItem: addItem(parts),
    setItems: setItems(parts),
    editItems: editItems(parts),
    uploadItems: uploadItems(parts),
    updateItem,
    removeItem,
    setAddress: setAddress(parts),
    listDeliveryOptions,
    chooseDelivery,
    quoteCheckout: quoteCheckout(parts),
    placeOrder,
    resumeCheckout,
    endCheckout,
    getOrder: getOrder(parts),
    listOrders: listOrders(parts),
  };
}
