import { CatalogServiceService } from "#proto/waybill/catalog/v1/catalog.ts";
import { CheckoutServiceService } from "#proto/waybill/checkout/v1/checkout.ts";
import { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { createClient } from "#shared/grpc/client.ts";
import { Cursors } from "#shared/waybill/cursors.ts";
import type { ReplicaParts } from "../replicaParts.ts";
import { checkoutHandlers } from "./index.ts";

export function startCheckout(replica: ReplicaParts): void {
  const { config, address, releasers, server, feed } = replica;
  const ring = replica.ringOf("checkout");
  const target = config.catalogAddress ?? address;
  const catalog = createClient(CatalogServiceService, target, replica.clientOptions());
  releasers.push("the client of the catalogue", () => catalog.close());
  const cursors = new Cursors("checkout", ring);
  const handlers = checkoutHandlers({ db: replica.database("checkout"), catalog, cursors });
  const parts = { state: CheckoutState, ring, revocations: feed };
  server.add(CheckoutServiceService, handlers, parts);
}
