import type { Db } from "waybill/postgres";
import { PRODUCT_COLUMNS, type ProductRow } from "./product.ts";

/** Notification channel for changes. */
export const CHANGE_CHANNEL = "waybill_catalog_change";
/** Number of stored changes. */
const KEPT_CHANGES = 10_000;

/** The changeable values of a product. Empty texts and zeros are stored as null. */
export interface ProductValues {
  title: string;
  rating: string;
  genre: string;
  director: string;
  distributor: string;
  runningTimeMinutes: number;
  imdbRatingTenths: number;
  priceCents: bigint;
}

/**
 * Changes columns of a product, numbers the change and notifies all replicas.
 *
 * @param columns names of columns of the table
 * @returns the product and the number of the change; undefined if the product does not exist
 */
export async function updateProduct(
  db: Db,
  id: bigint,
  columns: readonly string[],
  values: ProductValues,
): Promise<(ProductRow & { number: bigint }) | undefined> {
  // The product is always locked before the feed, so that two changes of one product cannot deadlock.
  const { rows } = await db.query<ProductRow & { number: bigint }>(
    `WITH given AS (SELECT $2::text[] AS columns), changed AS (
       UPDATE catalog.product SET
         title = CASE WHEN 'title' = ANY (columns) THEN $3::text ELSE title END,
         untitled = untitled AND 'title' <> ALL (columns),
         rating = CASE WHEN 'rating' = ANY (columns) THEN nullif($4::text, '') ELSE rating END,
         genre = CASE WHEN 'genre' = ANY (columns) THEN nullif($5::text, '') ELSE genre END,
         director = CASE WHEN 'director' = ANY (columns) THEN nullif($6::text, '') ELSE director END,
         distributor = CASE WHEN 'distributor' = ANY (columns) THEN nullif($7::text, '')
                            ELSE distributor END,
         running_time_minutes = CASE WHEN 'running_time_minutes' = ANY (columns)
                                     THEN nullif($8::integer, 0) ELSE running_time_minutes END,
         imdb_rating_tenths = CASE WHEN 'imdb_rating_tenths' = ANY (columns)
                                   THEN nullif($9::integer, 0) ELSE imdb_rating_tenths END,
         price_cents = CASE WHEN 'price_cents' = ANY (columns) THEN $10::bigint ELSE price_cents END
         FROM given
        WHERE id = $1::bigint
       RETURNING product.*
     ), head AS (
       UPDATE catalog.feed SET number = number + 1 WHERE EXISTS (SELECT FROM changed)
       RETURNING number
     ), added AS (
       INSERT INTO catalog.change (number, product_id) SELECT head.number, changed.id FROM head, changed
     ), dropped AS (
       DELETE FROM catalog.change WHERE number <= (SELECT number - ${KEPT_CHANGES} FROM head)
     )
     SELECT ${PRODUCT_COLUMNS}, number, pg_notify('${CHANGE_CHANNEL}', '') FROM changed, head`,
    [
      id,
      columns,
      values.title,
      values.rating,
      values.genre,
      values.director,
      values.distributor,
      values.runningTimeMinutes,
      values.imdbRatingTenths,
      values.priceCents,
    ],
  );
  return rows[0];
}
