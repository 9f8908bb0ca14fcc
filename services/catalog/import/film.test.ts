import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { mendMacRoman, type RawFilm, toFilm } from "./film.ts";

const file = new URL("../data/movies.json", import.meta.resolve("vega-datasets"));
const films = (JSON.parse(readFileSync(file, "utf8")) as RawFilm[]).map((raw, index) =>
  toFilm(raw, index + 1),
);

test("gives every film a title and a price", () => {
  expect(films).toHaveLength(3201);
  for (const film of films) {
    expect(film.title).not.toBe("");
    expect(film.priceCents).toBeGreaterThan(0);
  }
  expect(films.filter((film) => film.untitled)).toHaveLength(1);
});

test("converts numeric titles to text", () => {
  expect(films.filter(({ title }) => /^\d+$/.test(title)).map(({ title }) => title)).toContain(
    "300",
  );
});

test("moves years after 2011 back by a century", () => {
  const years = films.map(({ releaseDate }) => Number(releaseDate?.slice(0, 4)));
  expect(Math.max(...years)).toBeLessThanOrEqual(2011);
  expect(years.filter((year) => year >= 1940 && year < 1950).length).toBeGreaterThan(5);
});

test("repairs only texts decoded in the wrong code page", () => {
  expect(mendMacRoman("AstÈrix")).toBe("Astérix");
  expect(mendMacRoman("The Naked Gun 2Ω")).toBe("The Naked Gun 2½");
  expect(mendMacRoman("Alien³")).toBe("Alien³");
  expect(mendMacRoman("plain")).toBe("plain");
});

test("replaces impossible values with null", () => {
  expect(
    toFilm(
      { Title: null, "Release Date": "Feb 30 1999", "IMDB Rating": 11, "Running Time min": 0 },
      7,
    ),
  ).toMatchObject({
    title: "Untitled film 7",
    untitled: true,
    releaseDate: null,
    imdbRatingTenths: null,
    runningTimeMinutes: null,
    priceCents: 699,
  });
});

test.each([
  ["Jun 01 2005", 7, 999],
  ["Jun 01 1985", 7, 799],
  ["Jun 01 1955", 7, 599],
  ["Jun 01 2005", 8, 1099],
  ["Jun 01 2005", 4.9, 899],
])("prices a film of %s rated %d at %d cents", (date, rating, cents) => {
  expect(toFilm({ Title: "x", "Release Date": date, "IMDB Rating": rating }, 1).priceCents).toBe(
    cents,
  );
});
