import { Cursors, ResponseCache } from "waybill";
import { followChanges } from "waybill/client";
import { Notifications } from "waybill/postgres";
import { CatalogServiceService } from "#proto/waybill/catalog/v1/catalog.ts";
import type { CatalogConfig } from "../replica/config/config.ts";
import type { ReplicaDependencies } from "../replica/replicaDependencies.ts";
import { catalogHandlers } from "./index.ts";
import { CHANGE_CHANNEL } from "./sql/updateProduct.ts";
import { changesFeed } from "./watchChanges.ts";

export function startCatalog(replica: ReplicaDependencies, config: CatalogConfig): void {
  const { server, log, releasers, contract } = replica;
  const { cacheBytes, database } = config;
  const cursors = new Cursors("catalog", replica.ringOf("catalog"));
  const db = replica.database("catalog", database);
  const cache = cacheBytes > 0 ? new ResponseCache({ maxBytes: cacheBytes }) : undefined;
  const feed = changesFeed(db);
  releasers.push("the feed of changes", () => feed.close());
  // A pooler forwards no notifications, and a single connection is left to calls: then the feed polls.
  if (database.prepare && database.connections > 1) {
    const notifications = new Notifications(db, log, { [CHANGE_CHANNEL]: () => feed.wake() });
    releasers.push("the notifications of the catalogs", () => notifications.close());
  }
  if (cache !== undefined) {
    const { service } = contract.method(CatalogServiceService.getProduct.path);
    const watch = (after: bigint, signal: AbortSignal) => feed.follow(after, signal, true);
    const stop = followChanges(cache.scope(service), watch, log);
    releasers.push("the invalidation of the catalog's cache", stop);
  }
  server.add(CatalogServiceService, catalogHandlers({ db, cursors, feed }), undefined, cache);
}
