/** A film of the data set. Every value may be null or have another type. */
export type RawFilm = Record<string, unknown>;

/** A film of the catalog. */
export interface Film {
  id: number;
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
  priceCents: number;
}

/** The data set is from 2010 and includes films announced for 2011. */
const NEWEST_YEAR = 2011;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/**
 * Converts a film to a product. The product's number is the film's position in the data set, from 1.
 *
 * - A numeric title (`300`) becomes text. A missing title becomes `Untitled film 7`.
 * - Texts are repaired (see mendMacRoman) and trimmed. Empty texts become null.
 * - Two-digit years were parsed into the wrong century: a year after 2011 is a hundred years too late
 *   (`Aug 15 2046` is 1946).
 * - Impossible numbers (a running time of 0, a rating above 10) become null.
 * - The price: 9.99 USD from 2000 on, 7.99 from 1980, 5.99 before, 6.99 without a date; one dollar more
 *   from an IMDB rating of 8.0, one less below 5.0.
 */
export function toFilm(raw: RawFilm, position: number): Film {
  const title = text(raw["Title"]);
  const releaseDate = date(raw["Release Date"]);
  const imdbRating = number(raw["IMDB Rating"], 0, 10);
  const imdbRatingTenths = imdbRating === null ? null : Math.round(imdbRating * 10);
  const runningTime = number(raw["Running Time min"], 1, 1000);
  return {
    id: position,
    title: title ?? `Untitled film ${position}`,
    untitled: title === null,
    releaseDate,
    rating: text(raw["MPAA Rating"]),
    genre: text(raw["Major Genre"]),
    director: text(raw["Director"]),
    distributor: text(raw["Distributor"]),
    runningTimeMinutes: runningTime === null ? null : Math.round(runningTime),
    imdbRatingTenths,
    priceCents: price(releaseDate, imdbRatingTenths),
  };
}

function text(value: unknown): string | null {
  if (typeof value !== "string" && typeof value !== "number") return null;
  const mended = mendMacRoman(`${value}`).trim();
  return mended === "" ? null : mended;
}

function number(value: unknown, min: number, max: number): number | null {
  return typeof value === "number" && value >= min && value <= max ? value : null;
}

function date(value: unknown): string | null {
  const match = /^([A-Z][a-z]{2}) (\d{2}) (\d{4})$/.exec(`${value}`);
  const month = match ? MONTHS.indexOf(match[1]!) : -1;
  if (match === null || month < 0) return null;
  const day = Number(match[2]);
  let year = Number(match[3]);
  if (year > NEWEST_YEAR) year -= 100;
  const time = new Date(Date.UTC(year, month, day));
  return time.getUTCDate() === day ? time.toISOString().slice(0, 10) : null;
}

function price(releaseDate: string | null, imdbRatingTenths: number | null): number {
  const year = releaseDate === null ? null : Number(releaseDate.slice(0, 4));
  let cents = 599;
  if (year === null) cents = 699;
  else if (year >= 2000) cents = 999;
  else if (year >= 1980) cents = 799;
  if (imdbRatingTenths === null) return cents;
  if (imdbRatingTenths >= 80) return cents + 100;
  return imdbRatingTenths < 50 ? cents - 100 : cents;
}

// The characters of Mac OS Roman from 0x80 to 0xFF.
const MAC_ROMAN =
  "ÄÅÇÉÑÖÜáàâäãåçéèêëíìîïñóòôöõúùûü†°¢£§•¶ß®©™´¨≠ÆØ∞±≤≥¥µ∂∑∏π∫ªºΩæø¿¡¬√ƒ≈∆«»…\u00a0ÀÃÕŒœ–—“”‘’÷◊ÿŸ⁄€‹›ﬁﬂ‡·‚„‰ÂÊÁËÈÍÎÏÌÓÔ\uf8ffÒÚÛÙıˆ˜¯˘˙˚¸˝˛ˇ";
const windows1252 = new TextDecoder("windows-1252");

/**
 * Repairs a text that was written as Windows-1252 but decoded as Mac OS Roman: `AstÈrix` is `Astérix`.
 * A text with a character that Mac OS Roman lacks was decoded correctly, and stays unchanged.
 */
export function mendMacRoman(text: string): string {
  const bytes: number[] = [];
  for (const character of text) {
    const code = character.codePointAt(0)!;
    const index = MAC_ROMAN.indexOf(character);
    if (code < 0x80) bytes.push(code);
    else if (index >= 0) bytes.push(0x80 + index);
    else return text;
  }
  return windows1252.decode(Uint8Array.from(bytes));
}
