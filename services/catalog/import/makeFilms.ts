/**
 * Makes `films.ndjson`, the catalog's demo data that the migration imports: one film per line, without null
 * columns. The source is `data/movies.json` of the package `vega-datasets`
 * (https://github.com/vega/vega-datasets, BSD-3-Clause), a development dependency.
 *
 * Usage: node services/catalog/import/makeFilms.ts
 */
import { readFileSync, writeFileSync } from "node:fs";
import { type RawFilm, toFilm } from "./film.ts";

// The package exports only its code, so this resolves the data file relative to it.
const source = new URL("../data/movies.json", import.meta.resolve("vega-datasets"));
const films = JSON.parse(readFileSync(source, "utf8")) as RawFilm[];
const lines = films.map((film, index) =>
  JSON.stringify(toFilm(film, index + 1), (_key, value) => value ?? undefined),
);
writeFileSync(new URL("films.ndjson", import.meta.url), `${lines.join("\n")}\n`);
