import { readFileSync } from "node:fs";
import type { Db } from "#shared/pg/pool.ts";
import { type RawFilm, toFilm } from "./import/film.ts";
import { insertProducts } from "./sql/insertProducts.ts";

/**
 * Imports the films of the package `vega-datasets`. Those that are there already stay as they are.
 *
 * @returns how many were new
 */
export function seedCatalog(db: Db): Promise<number> {
  // The package exports its code alone; the data lies beside it.
  const file = new URL("../data/movies.json", import.meta.resolve("vega-datasets"));
  const raw = JSON.parse(readFileSync(file, "utf8")) as RawFilm[];
  return insertProducts(
    db,
    raw.map((film, index) => toFilm(film, index + 1)),
  );
}
