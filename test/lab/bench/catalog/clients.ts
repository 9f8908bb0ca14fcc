import { setTimeout as delay } from "node:timers/promises";
import { ResponseCache } from "waybill";
import { Assertions, loadCredentials } from "waybill/auth";
import {
  type CallSettings,
  createClient,
  followChanges,
  type ServiceClient,
  scopeName,
} from "waybill/client";
import { CatalogServiceService } from "#proto/waybill/catalog/v1/catalog.ts";
import type { CacheScope } from "#shared/cache/cacheScope.ts";
import type { CacheStats } from "#shared/cache/responseCache.ts";
import { contract } from "../../../support/clients.ts";

/** Size of the client's cache, as in a replica. */
const CACHE_BYTES = 16 * 2 ** 20;
const TIMEOUT_MS = 30_000;

export type Catalog = ServiceClient<typeof CatalogServiceService>;
const READS = ["getProduct", "listProducts", "batchGetProducts"] as const;
type ReadName = (typeof READS)[number];

/** A client of the catalog with its own connection. */
export interface CatalogClient {
  readonly catalog: Catalog;
  read<Name extends ReadName>(
    name: Name,
    request: Parameters<Catalog[Name]>[0],
    settings?: CallSettings,
  ): Promise<unknown>;
  /** Undefined: no cache. */
  stats(): CacheStats | undefined;
  close(): void;
}

export interface CachedClient extends CatalogClient {
  readonly scope: CacheScope;
  /** Waits until its cache has applied every change up to a number. */
  hears(number: bigint): Promise<void>;
}

export function plainClient(address: string): CatalogClient {
  const catalog = makeClient(address);
  return {
    catalog,
    read: (name, request, settings) => catalog[name](request as never, settings),
    stats: () => undefined,
    close: () => catalog.close(),
  };
}

/**
 * Creates a client with a cache.
 *
 * @param credentialsDir of the cluster's services: with it the cache follows the feed, as in checkout.
 *     Default: the cache learns of changes from responses
 */
export function cachedClient(address: string, credentialsDir?: string): CachedClient {
  const cache = new ResponseCache({ maxBytes: CACHE_BYTES });
  const catalog = makeClient(address, cache);
  const { service } = contract.method(CatalogServiceService.watchChanges.path);
  const scope = cache.scope(scopeName(address, service));
  const stop = credentialsDir && follow(scope, address, credentialsDir);
  return {
    catalog,
    scope,
    read: (name, request, settings) => catalog[name](request as never, settings),
    stats: () => cache.stats,
    async hears(number) {
      while (scope.position < number) await delay(5);
    },
    close() {
      if (stop) stop();
      catalog.close();
    },
  };
}

function makeClient(address: string, cache?: ResponseCache): Catalog {
  return createClient(CatalogServiceService, address, {
    ...{ contract, cache, timeoutMs: TIMEOUT_MS },
    channel: { "grpc.use_local_subchannel_pool": 1 },
  });
}

/** @returns a function that stops it */
function follow(scope: CacheScope, address: string, credentialsDir: string): () => void {
  const assertions = new Assertions(loadCredentials(credentialsDir), "checkout");
  const feed = makeClient(address);
  const stop = followChanges(scope, async function* (afterNumber, signal) {
    const metadata = await assertions.to(CatalogServiceService.watchChanges);
    yield* feed.watchChanges({ afterNumber }, { signal, metadata });
  });
  return () => {
    stop();
    feed.close();
  };
}
