import { CatalogServiceService } from "#proto/waybill/catalog/v1/catalog.ts";
import type { CacheScope } from "#shared/cache/cacheScope.ts";
import { followChanges } from "#shared/cache/followChanges.ts";
import { ResponseCache } from "#shared/cache/responseCache.ts";
import { createClient, type ServiceClient } from "#shared/client/client.ts";
import type { Handlers } from "#shared/contract/handlers.ts";
import { Notifications } from "#shared/pg/notifications.ts";
import type { Pool } from "#shared/pg/pool.ts";
import { createLog } from "#shared/runtime/log.ts";
import type { Authenticate } from "#shared/server/access.ts";
import { Server } from "#shared/server/server.ts";
import { catalogHandlers } from "../../../services/catalog/index.ts";
import {
  CHANGE_CHANNEL,
  type ProductValues,
  updateProduct,
} from "../../../services/catalog/sql/updateProduct.ts";
import { changesFeed } from "../../../services/catalog/watchChanges.ts";
import { contract } from "../clients.ts";
import { waitFor } from "../waitFor.ts";

export const CATALOG = "waybill.catalog.v1.CatalogService";
/** Limit for waits that take milliseconds: shorter than the max_age of responses. */
export const WAIT = { timeout: 30_000 };

/** A catalog in the test's process whose reads can be paused after they have read. */
export interface CatalogReplica {
  readonly address: string;
  /** The replica's own cache. */
  readonly cache: ResponseCache;
  readonly scope: CacheScope;
  readonly client: ServiceClient<typeof CatalogServiceService>;
  /** Paused reads, which respond when the test continues them. */
  readonly held: PromiseWithResolvers<void>[];
  /** True if reads pause. */
  holds: boolean;
  close(): Promise<void>;
}

/** @param hears whether the replica's cache follows the feed */
export async function startCatalogReplica(
  pool: Pool,
  { hears = true, authenticate }: { hears?: boolean; authenticate?: Authenticate } = {},
): Promise<CatalogReplica> {
  const log = createLog("silent");
  const feed = changesFeed(pool);
  const notifications = new Notifications(pool, log, { [CHANGE_CHANNEL]: () => feed.wake() });
  const cache = new ResponseCache({ maxBytes: 1_000_000 });
  const scope = cache.scope(CATALOG);
  const stop = hears
    ? followChanges(scope, (after, signal) => feed.follow(after, signal, true), log)
    : () => {};
  const held: PromiseWithResolvers<void>[] = [];
  const real = catalogHandlers({ db: pool, cursors: undefined as never, feed });
  const handlers: Handlers<typeof CatalogServiceService> = {
    ...real,
    async getProduct(request, context) {
      const product = await real.getProduct(request, context);
      if (!replica.holds) return product;
      const waiting = Promise.withResolvers<void>();
      held.push(waiting);
      await waiting.promise;
      return product;
    },
  };
  const server = new Server({ contract, ...(authenticate && { authenticate }) });
  server.add(CatalogServiceService, handlers, undefined, cache);
  const address = `127.0.0.1:${await server.listen("127.0.0.1:0")}`;
  const client = createClient(CatalogServiceService, address, { contract });
  const replica: CatalogReplica = {
    address,
    cache,
    scope,
    client,
    held,
    holds: false,
    async close() {
      stop();
      notifications.close();
      feed.close();
      client.close();
      await server.drain();
    },
  };
  if (hears) await untilHeard(scope, 1n);
  return replica;
}

/** Settles when a cache has received a change. */
export async function untilHeard(scope: CacheScope, number: bigint): Promise<void> {
  await waitFor(
    `change ${number} to reach the cache`,
    () => scope.position >= number,
    WAIT.timeout,
  );
}

export const VALUES: ProductValues = {
  title: "",
  rating: "",
  genre: "",
  director: "",
  distributor: "",
  runningTimeMinutes: 0,
  imdbRatingTenths: 0,
  priceCents: 1n,
};

/** Commits a change of a product's title. @returns its number */
export async function retitle(pool: Pool, id: number, title: string): Promise<bigint> {
  return (await updateProduct(pool, BigInt(id), ["title"], { ...VALUES, title }))!.number;
}
