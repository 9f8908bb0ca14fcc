import type { Db } from "#shared/pg/pool.ts";
import type { Film } from "../import/film.ts";

/** Adds products, in one statement. Those that are there already stay. @returns how many were new */
export async function insertProducts(db: Db, films: Film[]): Promise<number> {
  const { rowCount } = await db.query(
    `INSERT INTO catalog.product (id, title, untitled, release_date, rating, genre, director,
                                  distributor, running_time_minutes, imdb_rating_tenths, price_cents)
     SELECT * FROM json_to_recordset($1::json) AS film (
       "id" bigint, "title" text, "untitled" boolean, "releaseDate" date, "rating" text,
       "genre" text, "director" text, "distributor" text, "runningTimeMinutes" integer,
       "imdbRatingTenths" integer, "priceCents" bigint)
     ON CONFLICT (id) DO NOTHING`,
    [JSON.stringify(films)],
  );
  return rowCount ?? 0;
}
