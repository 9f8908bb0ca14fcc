import type {
  WatchChangesRequest,
  WatchChangesResponse,
} from "#proto/waybill/catalog/v1/catalog.ts";
import type { Context } from "#shared/contract/handlers.ts";
import type { CatalogParts } from "./parts.ts";

export const watchChanges =
  ({ feed }: CatalogParts) =>
  (
    { afterNumber }: WatchChangesRequest,
    { signal }: Context,
  ): AsyncGenerator<WatchChangesResponse> =>
    feed.follow(afterNumber, signal, true);
