import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Db } from "#shared/pg/pool.ts";
import { type RawFilm, toFilm } from "./import/film.ts";
import { insertProducts } from "./sql/insertProducts.ts";

/**
 * Imports the films of the package `vega-datasets`. Those that are there already stay as they are.
 *
 * @returns how many were new
 */
export function seedCatalog(db: Db): Promise<number> {
  const file = createRequire(import.meta.url).resolve("vega-datasets/data/movies.json");
  const raw = JSON.parse(readFileSync(file, "utf8")) as RawFilm[];
  return insertProducts(
    db,
    raw.map((film, index) => toFilm(film, index + 1)),
  );
}
