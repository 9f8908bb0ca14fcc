import { status } from "@grpc/grpc-js";
import { vocabulary } from "#shared/errors.ts";

export const CatalogErrors = vocabulary("catalog.waybill", {
  PRODUCT_NOT_FOUND: [status.NOT_FOUND, "There is no such product."],
});
