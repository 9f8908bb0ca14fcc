import { status } from "@grpc/grpc-js";
import { vocabulary } from "waybill";
import type { Product } from "#proto/waybill/catalog/v1/catalog.ts";
import type { ProductRow } from "./sql/product.ts";

export const CatalogErrors = vocabulary("catalog.waybill", {
  PRODUCT_NOT_FOUND: [status.NOT_FOUND, "The product does not exist."],
});

export function toProduct(row: ProductRow): Product {
  const [year, month, day] = row.releaseDate?.split("-").map(Number) ?? [];
  return {
    name: `products/${row.id}`,
    title: row.title,
    untitled: row.untitled,
    releaseDate: year === undefined ? undefined : { year, month: month!, day: day! },
    rating: row.rating ?? "",
    genre: row.genre ?? "",
    director: row.director ?? "",
    distributor: row.distributor ?? "",
    runningTimeMinutes: row.runningTimeMinutes ?? 0,
    imdbRatingTenths: row.imdbRatingTenths ?? 0,
    price: {
      currencyCode: "USD",
      units: row.priceCents / 100n,
      nanos: Number(row.priceCents % 100n) * 10_000_000,
    },
  };
}

/** @param name `products/{number}`, validated by the proto's constraint */
export function productId(name: string): bigint {
  return BigInt(name.slice("products/".length));
}
