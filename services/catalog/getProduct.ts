import type { Context } from "waybill";
import { during } from "waybill/postgres";
import type { GetProductRequest, Product } from "#proto/waybill/catalog/v1/catalog.ts";
import type { CatalogDependencies } from "./index.ts";
import { CatalogErrors, productId, toProduct } from "./product.ts";
import { readProducts } from "./sql/readProducts.ts";

/** Reads one product. */
export const getProduct =
  ({ db }: CatalogDependencies) =>
  async ({ name }: GetProductRequest, context: Context): Promise<Product> => {
    const [row] = await readProducts(during(db, context), [productId(name)]);
    if (row === undefined) throw CatalogErrors.PRODUCT_NOT_FOUND({ metadata: { product: name } });
    return toProduct(row);
  };
