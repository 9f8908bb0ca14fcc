import type { Logger } from "pino";
import type { Cursors, Handlers } from "waybill";
import type { ServiceClient } from "waybill/client";
import type { Pool } from "waybill/postgres";
import type { CatalogServiceService } from "#proto/waybill/catalog/v1/catalog.ts";
import type { CheckoutServiceService } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import type { IdentityServiceService } from "#proto/waybill/identity/v1/identity.ts";
import { addItem } from "./basket/addItem.ts";
import { editItems } from "./basket/editItems.ts";
import { removeItem } from "./basket/removeItem.ts";
import { setItems } from "./basket/setItems.ts";
import { updateItem } from "./basket/updateItem.ts";
import { uploadItems } from "./basket/uploadItems.ts";
import { beginCheckout } from "./beginCheckout.ts";
import { bindCheckout } from "./bindCheckout.ts";
import { chooseDelivery } from "./delivery/chooseDelivery.ts";
import { listDeliveryOptions } from "./delivery/listDeliveryOptions.ts";
import { setAddress } from "./delivery/setAddress.ts";
import { endCheckout } from "./endCheckout.ts";
import { getCheckout } from "./getCheckout.ts";
import { getOrder } from "./orders/getOrder.ts";
import { listOrders } from "./orders/listOrders.ts";
import { placeOrder } from "./orders/placeOrder.ts";
import { quoteCheckout } from "./orders/quoteCheckout.ts";
import { resumeCheckout } from "./resumeCheckout.ts";

export interface CheckoutDependencies {
  db: Pool;
  catalog: ServiceClient<typeof CatalogServiceService>;
  cursors: Cursors;
  /** Undefined if the replica accepts no access tokens. */
  identity: Pick<ServiceClient<typeof IdentityServiceService>, "getUser"> | undefined;
  log: Logger;
}

export function checkoutHandlers(
  dependencies: CheckoutDependencies,
): Handlers<typeof CheckoutServiceService, CheckoutState> {
  return {
    beginCheckout,
    bindCheckout,
    getCheckout,
    addItem: addItem(dependencies),
    setItems: setItems(dependencies),
    editItems: editItems(dependencies),
    uploadItems: uploadItems(dependencies),
    updateItem,
    removeItem,
    setAddress: setAddress(dependencies),
    listDeliveryOptions,
    chooseDelivery,
    quoteCheckout: quoteCheckout(dependencies),
    placeOrder,
    resumeCheckout,
    endCheckout,
    getOrder: getOrder(dependencies),
    listOrders: listOrders(dependencies),
  };
}
