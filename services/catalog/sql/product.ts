export interface ProductRow {
  id: bigint;
  title: string;
  untitled: boolean;
  /** ISO 8601. */
  releaseDate: string | null;
  rating: string | null;
  genre: string | null;
  director: string | null;
  distributor: string | null;
  runningTimeMinutes: number | null;
  imdbRatingTenths: number | null;
  priceCents: bigint;
}

/** The columns of a ProductRow. */
export const PRODUCT_COLUMNS = `id, title, untitled, release_date::text AS "releaseDate", rating,
  genre, director, distributor, running_time_minutes AS "runningTimeMinutes",
  imdb_rating_tenths AS "imdbRatingTenths", price_cents AS "priceCents"`;
