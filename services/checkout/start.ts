import { Cursors, RemoteDirectory, ResponseCache } from "waybill";
import { createClient, followChanges, type ServiceClient, scopeName } from "waybill/client";
import { Spills } from "waybill/postgres";
import { CatalogServiceService } from "#proto/waybill/catalog/v1/catalog.ts";
import { CheckoutServiceService } from "#proto/waybill/checkout/v1/checkout.ts";
import { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { IdentityServiceService } from "#proto/waybill/identity/v1/identity.ts";
import type { CheckoutConfig } from "../replica/config/config.ts";
import type { ReplicaDependencies } from "../replica/replicaDependencies.ts";
import { checkoutHandlers } from "./index.ts";

export function startCheckout(replica: ReplicaDependencies, config: CheckoutConfig): void {
  const { address, releasers, server, feed } = replica;
  const ring = replica.ringOf("checkout");
  const catalog = catalogClient(replica, config);
  const cursors = new Cursors("checkout", ring);
  const identity = identityClient(replica, config.identityAddress);
  const db = replica.database("checkout", config.database);
  const handlers = checkoutHandlers({ db, catalog, cursors, identity, log: replica.log });
  const directory = new RemoteDirectory(
    config.sessionAddress ?? address,
    replica.clientOptions(),
    replica.assertions("checkout"),
  );
  releasers.push("the client of the directory", () => directory.close());
  const anchorage = { ...replica.anchorage("checkout", db), directory };
  const spills = new Spills(db, "checkout");
  const dependencies = { state: CheckoutState, ring, revocations: feed, anchorage, spills };
  server.add(CheckoutServiceService, handlers, dependencies);
}

/** Creates a client that caches catalog responses, and invalidates them as the catalog changes. */
function catalogClient(
  replica: ReplicaDependencies,
  { cacheBytes, catalogAddress }: CheckoutConfig,
): ServiceClient<typeof CatalogServiceService> {
  const { config, address, releasers, contract, log } = replica;
  const cache = cacheBytes > 0 ? new ResponseCache({ maxBytes: cacheBytes }) : undefined;
  const target = catalogAddress ?? address;
  const options = { ...replica.clientOptions(), cache };
  const catalog = createClient(CatalogServiceService, target, options);
  releasers.push("the client of the catalog", () => catalog.close());
  if (cache === undefined) return catalog;
  const { service } = contract.method(CatalogServiceService.watchChanges.path);
  const assertions = replica.assertions("checkout");
  // The target may be the front proxy, which does not route methods for services only.
  const watched = config.catalog === undefined ? target : address;
  const feed = createClient(CatalogServiceService, watched, replica.clientOptions());
  releasers.push("the client of the catalog's changes", () => feed.close());
  const watch = async function* (afterNumber: bigint, signal: AbortSignal) {
    const metadata = await assertions.to(CatalogServiceService.watchChanges);
    yield* feed.watchChanges({ afterNumber }, { metadata, signal });
  };
  const stop = followChanges(cache.scope(scopeName(target, service)), watch, log);
  releasers.push("the invalidation of checkout's catalog cache", stop);
  return catalog;
}

/** Creates a client that calls identity on behalf of checkout's caller. */
function identityClient(replica: ReplicaDependencies, identityAddress: string | undefined) {
  const { config, address, releasers } = replica;
  const target = identityAddress ?? (config.identity && address);
  const tokens = replica.serviceTokens("checkout");
  if (target === undefined || tokens === undefined) return undefined;
  const options = { ...replica.clientOptions(), authorize: tokens.authorize };
  const identity = createClient(IdentityServiceService, target, options);
  releasers.push("checkout's client of identity", () => identity.close());
  return identity;
}
