import fc from "fast-check";
import { expect, test } from "vitest";
import { StatusError } from "waybill";
import { parseFilter } from "./filter.ts";

function refusal(filter: string): string {
  try {
    parseFilter(filter);
  } catch (error) {
    return (error as StatusError).details.violations![0]!.description;
  }
  throw new Error(`not refused: ${filter}`);
}

test("translates comparisons into conditions over numbered values", () => {
  expect(parseFilter("")).toEqual({ conditions: [], values: [] });
  expect(parseFilter(' genre = "Drama" AND release_date.year >= 1990 ')).toEqual({
    conditions: ["genre = $1::text", "extract(year FROM release_date) >= $2::integer"],
    values: ["Drama", 1990],
  });
  expect(parseFilter("rating != R")).toEqual({
    conditions: ["rating IS DISTINCT FROM $1::text"],
    values: ["R"],
  });
});

test("escapes wildcards in a searched text", () => {
  expect(parseFilter(String.raw`title:"100%_\\ \"sure\""`).values).toEqual([
    String.raw`%100\%\_\\ "sure"%`,
  ]);
});

test.each([
  ["colour = 2", "at column 1"],
  // Inherited from Object.prototype.
  ["constructor = 2", "expected one of title, "],
  ["genre", "expected one of = != : at column 6"],
  ["genre < 2", "expected one of = != : at column 7"],
  ["genre = ", "expected a value at column 9"],
  ['genre = "Drama', "at column 9"],
  ["release_date.year = MCMXC", "expected a whole number at column 21"],
  ["release_date.year = 12345678901", "expected a whole number at column 21"],
  ["genre = a OR genre = b", "expected AND or the end at column 11"],
  ["genre = a ANDgenre = b", "expected AND or the end at column 11"],
])("refuses %s: %s", (filter, words) => {
  expect(refusal(filter)).toContain(words);
});

test("accepts ten comparisons and refuses eleven", () => {
  const joined = (count: number) => Array(count).fill("genre = a").join(" AND ");
  expect(parseFilter(joined(10)).conditions).toHaveLength(10);
  expect(refusal(joined(11))).toBe("expected at most 10 comparisons at column 141");
});

test("never puts filter text into SQL", () => {
  const word = fc.constantFrom(
    "genre",
    "title",
    "constructor",
    "=",
    ":",
    "AND",
    '"',
    "'",
    "1990",
    "release_date.year",
    ">=",
    ";",
    "--",
    "x",
  );
  const filter = fc.oneof(
    fc.string(),
    fc.array(word).map((words) => words.join(" ")),
  );
  fc.assert(
    fc.property(filter, (text) => {
      try {
        for (const condition of parseFilter(text).conditions) {
          expect(condition).toMatch(
            /^(extract\(year FROM release_date\)|[a-z_]+) (=|<=?|>=?|IS DISTINCT FROM|ILIKE) \$\d+::(text|integer)$/,
          );
        }
      } catch (error) {
        expect(error).toBeInstanceOf(StatusError);
      }
    }),
  );
});
