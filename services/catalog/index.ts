import type { CatalogServiceService } from "#proto/waybill/catalog/v1/catalog.ts";
import type { Handlers } from "#shared/contract/handlers.ts";
import { batchGetProducts } from "./batchGetProducts.ts";
import { getProduct } from "./getProduct.ts";
import { listProducts } from "./listProducts.ts";
import type { CatalogParts } from "./parts.ts";
import { updateProduct } from "./updateProduct.ts";
import { watchChanges } from "./watchChanges.ts";

export function catalogHandlers(parts: CatalogParts): Handlers<typeof CatalogServiceService> {
  return {
    getProduct: getProduct(parts),
    listProducts: listProducts(parts),
    batchGetProducts: batchGetProducts(parts),
    updateProduct: updateProduct(parts),
    watchChanges: watchChanges(parts),
  };
}
