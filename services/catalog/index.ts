import type { CatalogServiceService } from "#proto/waybill/catalog/v1/catalog.ts";
import type { Handlers } from "#shared/grpc/handlers.ts";
import type { Pool } from "#shared/pg/pool.ts";
import type { Cursors } from "#shared/waybill/cursors.ts";
import { batchGetProducts } from "./batchGetProducts.ts";
import { getProduct } from "./getProduct.ts";
import { listProducts } from "./listProducts.ts";

/** What the handlers share. */
export interface CatalogParts {
  db: Pool;
  cursors: Cursors;
}

export function catalogHandlers(parts: CatalogParts): Handlers<typeof CatalogServiceService> {
  return {
    getProduct: getProduct(parts),
    listProducts: listProducts(parts),
    batchGetProducts: batchGetProducts(parts),
  };
}
