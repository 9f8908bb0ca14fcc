import type { CatalogServiceService } from "#proto/waybill/catalog/v1/catalog.ts";
import type { Handlers } from "#shared/contract/handlers.ts";

/** Handlers of the catalog that a test of something else has no use for. */
export const REST_OF_CATALOG: Omit<Handlers<typeof CatalogServiceService>, "getProduct"> = {
  listProducts: async () => ({ products: [], nextPageToken: "" }),
  batchGetProducts: async () => ({ products: [] }),
  updateProduct: async () => {
    throw new Error("not implemented in this test");
  },
  watchChanges: () => {
    throw new Error("not implemented in this test");
  },
};
