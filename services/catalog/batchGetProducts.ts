import type { Context } from "waybill";
import { during } from "waybill/postgres";
import type {
  BatchGetProductsRequest,
  BatchGetProductsResponse,
} from "#proto/waybill/catalog/v1/catalog.ts";
import type { CatalogDependencies } from "./index.ts";
import { CatalogErrors, productId, toProduct } from "./product.ts";
import { readProducts } from "./sql/readProducts.ts";

/** Reads up to 100 products, and fails when one does not exist (AIP-231). */
export const batchGetProducts =
  ({ db }: CatalogDependencies) =>
  async (
    { names }: BatchGetProductsRequest,
    context: Context,
  ): Promise<BatchGetProductsResponse> => {
    const rows = await readProducts(during(db, context), names.map(productId));
    const products = new Map(rows.map((row) => [row.id, toProduct(row)]));
    return {
      products: names.map((name) => {
        const product = products.get(productId(name));
        if (product === undefined) {
          throw CatalogErrors.PRODUCT_NOT_FOUND({
            metadata: { product: name },
          });
        }
        return product;
      }),
    };
  };
