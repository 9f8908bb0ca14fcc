import { Cursors, RemoteDirectory } from "waybill";
import { createClient, followChanges, type ServiceClient, scopeName } from "waybill/client";
import { Spills } from "waybill/postgres";
import { CatalogServiceService } from "#proto/waybill/catalog/v1/catalog.ts";
import { CheckoutServiceService } from "#proto/waybill/checkout/v1/checkout.ts";
import { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { IdentityServiceService } from "#proto/waybill/identity/v1/identity.ts";
import type { ReplicaDependencies } from "../replica/replicaDependencies.ts";
import { checkoutHandlers } from "./index.ts";

export function startCheckout(replica: ReplicaDependencies): void {
  const { config, address, releasers, server, feed } = replica;
  const ring = replica.ringOf("checkout");
  const catalog = catalogClient(replica);
  const cursors = new Cursors("checkout", ring);
  const identity = identityClient(replica);
  const db = replica.database("checkout");
  const handlers = checkoutHandlers({ db, catalog, cursors, identity, log: replica.log });
  const directory = new RemoteDirectory(
    config.sessionAddress ?? address,
    replica.clientOptions(),
    replica.assertions("checkout"),
  );
  releasers.push("the client of the directory", () => directory.close());
  const anchorage = { ...replica.anchorage("checkout", db), directory };
  const parts = {
    state: CheckoutState,
    ring,
    revocations: feed,
    anchorage,
    spills: new Spills(db, "checkout"),
  };
  server.add(CheckoutServiceService, handlers, parts);
}

/** Keeps what the catalog says, and hears of what changes there. */
function catalogClient(replica: ReplicaDependencies): ServiceClient<typeof CatalogServiceService> {
  const { config, address, releasers, contract, log } = replica;
  const cache = replica.cacheOf("checkout");
  const target = config.catalogAddress ?? address;
  const options = { ...replica.clientOptions(), cache };
  const catalog = createClient(CatalogServiceService, target, options);
  releasers.push("the client of the catalog", () => catalog.close());
  if (cache === undefined) return catalog;
  const { service } = contract.method(CatalogServiceService.watchChanges.path);
  const assertions = replica.assertions("checkout");
  // The front proxy, which may be the target, has no way to what is for services alone.
  const watched = config.roles.includes("catalog") ? address : target;
  const feed = createClient(CatalogServiceService, watched, replica.clientOptions());
  releasers.push("the client of the catalog's changes", () => feed.close());
  const watch = async function* (afterNumber: bigint, signal: AbortSignal) {
    const metadata = await assertions.to(CatalogServiceService.watchChanges);
    yield* feed.watchChanges({ afterNumber }, { metadata, signal });
  };
  const stop = followChanges(cache.scope(scopeName(target, service)), watch, log);
  releasers.push("what checkout hears of the catalog's changes", stop);
  return catalog;
}

/** Calls in the name of whoever called checkout. */
function identityClient(replica: ReplicaDependencies) {
  const { config, address, releasers, serviceTokens } = replica;
  const isServed = config.roles.includes("identity");
  const target = config.identityAddress ?? (isServed ? address : undefined);
  const tokens = serviceTokens("checkout");
  if (target === undefined || tokens === undefined) return undefined;
  const options = { ...replica.clientOptions(), authorize: tokens.authorize };
  const identity = createClient(IdentityServiceService, target, options);
  releasers.push("checkout's client of identity", () => identity.close());
  return identity;
}
