import type { Context } from "waybill";
import { Feed, type Pool } from "waybill/postgres";
import type {
  WatchChangesRequest,
  WatchChangesResponse,
} from "#proto/waybill/catalog/v1/catalog.ts";
import type { CatalogDependencies } from "./index.ts";
import { readChanges } from "./sql/readChanges.ts";

/** The change feed of one replica of the catalog. */
export type ChangesFeed = Feed<WatchChangesResponse>;

/** @param pollMs interval at which watchers wake without a notification, in case one was lost */
export function changesFeed(db: Pool, pollMs?: number): ChangesFeed {
  const read = async (after: bigint): Promise<WatchChangesResponse> => {
    const { number, gap, rows } = await readChanges(db, after);
    const changes = rows.map((row) => ({
      number: row.number,
      resources: [`products/${row.productId}`],
    }));
    return { number, gap, changes };
  };
  return new Feed(read, pollMs);
}

/** Streams the changes after a number, and each later one. */
export const watchChanges =
  ({ feed }: CatalogDependencies) =>
  (
    { afterNumber }: WatchChangesRequest,
    { signal }: Context,
  ): AsyncGenerator<WatchChangesResponse> =>
    feed.follow(afterNumber, signal, true);
