/** A figure measured in several rounds. */
export interface Figure {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** The median; of two middle values, their mean. */
export function median(figures: readonly number[]): number {
  const sorted = figures.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2;
}

/**
 * @throws Error if a value is missing or not finite: a contender without figures must be reported as not
 * measured
 */
export function figureOf(rounds: readonly number[]): Figure {
  if (rounds.length === 0 || !rounds.every(Number.isFinite)) {
    throw new Error(`no figure can be made of ${JSON.stringify(rounds)}`);
  }
  return { median: median(rounds), min: Math.min(...rounds), max: Math.max(...rounds) };
}

/** Ratios within each round, so that disturbances affect both values. */
export function ratios(rounds: readonly number[], against: readonly number[]): number[] {
  return rounds.map((each, index) => each / against[index]!);
}

/** Formats a number of things. */
export function count(value: number): string {
  return value.toLocaleString("en-GB");
}

/** Formats three significant digits, or all digits before the point. */
export function numeral(value: number): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.1 ? 2 : 4;
  return value.toLocaleString("en-GB", {
    minimumFractionDigits: size >= 0.1 ? digits : 0,
    maximumFractionDigits: digits,
  });
}

/** Formats the median, with its range if it has one. */
export function spread({ median: middle, min, max }: Figure): string {
  const [low, high] = [numeral(min), numeral(max)];
  return low === high ? numeral(middle) : `${numeral(middle)} (${low}–${high})`;
}
