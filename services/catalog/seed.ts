import { readFileSync } from "node:fs";
import type { Db } from "waybill/postgres";

/** One film per line, made by `import/makeFilms.ts`. */
const FILMS = new URL("import/films.ndjson", import.meta.url);

/**
 * Imports the demo data in one statement. Existing products stay unchanged.
 *
 * @returns the number of added products
 */
export async function seedCatalog(db: Db): Promise<number> {
  const films = readFileSync(FILMS, "utf8").trimEnd().replaceAll("\n", ",");
  const { rowCount } = await db.query(
    `INSERT INTO catalog.product (id, title, untitled, release_date, rating, genre, director,
                                  distributor, running_time_minutes, imdb_rating_tenths, price_cents)
     SELECT * FROM json_to_recordset($1::json) AS film (
       "id" bigint, "title" text, "untitled" boolean, "releaseDate" date, "rating" text,
       "genre" text, "director" text, "distributor" text, "runningTimeMinutes" integer,
       "imdbRatingTenths" integer, "priceCents" bigint)
     ON CONFLICT (id) DO NOTHING`,
    [`[${films}]`],
  );
  return rowCount ?? 0;
}
