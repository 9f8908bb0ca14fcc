import { type Context, Errors } from "waybill";
import { CHANGE_KEY } from "waybill/client";
import { during } from "waybill/postgres";
import type { Product, UpdateProductRequest } from "#proto/waybill/catalog/v1/catalog.ts";
import type { CatalogDependencies } from "./index.ts";
import { CatalogErrors, productId, toProduct } from "./product.ts";
import { updateProduct as update } from "./sql/updateProduct.ts";

const MAX_TEXT = 200;
const TEXTS = ["title", "rating", "genre", "director", "distributor"] as const;
/** Columns by path in the update mask. */
const COLUMNS: Readonly<Record<string, string>> = {
  ...Object.fromEntries(TEXTS.map((field) => [field, field])),
  running_time_minutes: "running_time_minutes",
  imdb_rating_tenths: "imdb_rating_tenths",
  price: "price_cents",
};

/** Changes a product. Sends the number of the committed change in the metadata `change`. */
export const updateProduct =
  ({ db, feed }: CatalogDependencies) =>
  async ({ product, updateMask }: UpdateProductRequest, context: Context): Promise<Product> => {
    const { name } = product!;
    const paths = updateMask?.length ? updateMask : populated(product!);
    check(product!, paths);
    const columns = paths.map((path) => COLUMNS[path]!);
    const values = { ...product!, priceCents: centsOf(product!) ?? 0n };
    const row = await update(during(db, context), productId(name), columns, values);
    if (row === undefined) throw CatalogErrors.PRODUCT_NOT_FOUND({ metadata: { product: name } });
    feed.wake();
    context.reply.set(CHANGE_KEY, `${row.number}`);
    return toProduct(row);
  };

/** Returns the paths of the changeable fields that are set: the default of an omitted mask. */
function populated(product: Product): string[] {
  const { runningTimeMinutes, imdbRatingTenths, price } = product;
  const isSet: Record<string, boolean> = {
    ...Object.fromEntries(TEXTS.map((field) => [field, product[field] !== ""])),
    running_time_minutes: runningTimeMinutes !== 0,
    imdb_rating_tenths: imdbRatingTenths !== 0,
    price: price !== undefined,
  };
  return Object.keys(COLUMNS).filter((path) => isSet[path]);
}

/** @throws StatusError INVALID_FIELD with each invalid field */
function check(product: Product, paths: readonly string[]): void {
  const violations: { field: string; description: string }[] = [];
  const refuse = (field: string, description: string) => violations.push({ field, description });
  for (const path of paths) {
    if (!Object.hasOwn(COLUMNS, path)) refuse("update_mask", `${path} can't be changed`);
  }
  for (const field of TEXTS) {
    if (!paths.includes(field)) continue;
    const { length } = product[field];
    const isMissing = field === "title" && length === 0;
    // Postgres cannot store this character.
    const isText = !product[field].includes("\0");
    if (length > MAX_TEXT || isMissing || !isText) {
      refuse(
        `product.${field}`,
        `must have at most ${MAX_TEXT} characters${isMissing ? ", and some" : ""}`,
      );
    }
  }
  const { runningTimeMinutes, imdbRatingTenths } = product;
  if (paths.includes("running_time_minutes") && runningTimeMinutes < 0) {
    refuse("product.running_time_minutes", "must be 0 or more");
  }
  if (paths.includes("imdb_rating_tenths") && (imdbRatingTenths < 0 || imdbRatingTenths > 100)) {
    refuse("product.imdb_rating_tenths", "must be from 0 to 100");
  }
  if (paths.includes("price") && centsOf(product) === undefined) {
    refuse(
      "product.price",
      "must be in USD, in whole cents, more than 0, less than a million dollars",
    );
  }
  if (violations.length > 0) throw Errors.INVALID_FIELD({ violations });
}

function centsOf({ price }: Product): bigint | undefined {
  if (price?.currencyCode !== "USD" || price.nanos % 10_000_000 !== 0 || price.nanos < 0)
    return undefined;
  if (price.nanos >= 1_000_000_000) return undefined;
  const cents = price.units * 100n + BigInt(price.nanos / 10_000_000);
  return price.units >= 0n && cents > 0n && cents < 100_000_000n ? cents : undefined;
}
