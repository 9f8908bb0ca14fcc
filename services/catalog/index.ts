import type { Cursors, Handlers } from "waybill";
import type { Pool } from "waybill/postgres";
import type { CatalogServiceService } from "#proto/waybill/catalog/v1/catalog.ts";
import { batchGetProducts } from "./batchGetProducts.ts";
import { getProduct } from "./getProduct.ts";
import { listProducts } from "./listProducts.ts";
import { updateProduct } from "./updateProduct.ts";
import type { ChangesFeed } from "./watchChanges.ts";
import { watchChanges } from "./watchChanges.ts";

export interface CatalogDependencies {
  db: Pool;
  cursors: Cursors;
  feed: ChangesFeed;
}

export function catalogHandlers(
  dependencies: CatalogDependencies,
): Handlers<typeof CatalogServiceService> {
  return {
    getProduct: getProduct(dependencies),
    listProducts: listProducts(dependencies),
    batchGetProducts: batchGetProducts(dependencies),
    updateProduct: updateProduct(dependencies),
    watchChanges: watchChanges(dependencies),
  };
}
