import { Cursors } from "waybill";
import { followChanges } from "waybill/client";
import { Notifications } from "waybill/postgres";
import { CatalogServiceService } from "#proto/waybill/catalog/v1/catalog.ts";
import type { ReplicaDependencies } from "../replica/replicaDependencies.ts";
import { catalogHandlers } from "./index.ts";
import { CHANGE_CHANNEL } from "./sql/updateProduct.ts";
import { changesFeed } from "./watchChanges.ts";

export function startCatalog(replica: ReplicaDependencies): void {
  const { server, ringOf, database, config, log, releasers, contract } = replica;
  const cursors = new Cursors("catalog", ringOf("catalog"));
  const db = database("catalog");
  const cache = replica.cacheOf("catalog");
  const feed = changesFeed(db);
  releasers.push("the feed of changes", () => feed.close());
  // A pooler hands on no notifications, and one connection is for calls: then the feed looks for itself.
  if (config.databasePrepare && config.databaseConnections > 1) {
    const notifications = new Notifications(db, log, { [CHANGE_CHANNEL]: () => feed.wake() });
    releasers.push("the notifications of the catalogs", () => notifications.close());
  }
  if (cache !== undefined) {
    const { service } = contract.method(CatalogServiceService.getProduct.path);
    const watch = (after: bigint, signal: AbortSignal) => feed.follow(after, signal, true);
    const stop = followChanges(cache.scope(service), watch, log);
    releasers.push("what the catalog's answers hear of changes", stop);
  }
  server.add(CatalogServiceService, catalogHandlers({ db, cursors, feed }), undefined, cache);
}
