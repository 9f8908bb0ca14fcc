import type { Context } from "waybill";
import { Feed, type Pool } from "waybill/postgres";
import type {
  WatchChangesRequest,
  WatchChangesResponse,
} from "#proto/waybill/catalog/v1/catalog.ts";
import type { CatalogDependencies } from "./index.ts";
import { readChanges } from "./sql/readChanges.ts";

/** The changes of the catalog, as one replica streams them to its watchers. */
export type ChangesFeed = Feed<WatchChangesResponse>;

/** @param pollMs how often watchers are woken though nothing was heard of */
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
