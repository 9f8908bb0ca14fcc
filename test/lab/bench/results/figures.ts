/** A figure that was taken in several rounds. */
export interface Figure {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** The middle of some figures; of two in the middle, what lies between them. */
export function median(figures: readonly number[]): number {
  const sorted = figures.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2;
}

/** @throws Error when a round gave none: a figure is there, or it is left out by name */
export function figureOf(rounds: readonly number[]): Figure {
  if (rounds.length === 0 || !rounds.every(Number.isFinite)) {
    throw new Error(`no figure can be made of ${JSON.stringify(rounds)}`);
  }
  return { median: median(rounds), min: Math.min(...rounds), max: Math.max(...rounds) };
}

/** One by the other, round by round: what else the machine did met both alike. */
export function ratios(rounds: readonly number[], against: readonly number[]): number[] {
  return rounds.map((each, index) => each / against[index]!);
}

/** A number of things. */
export function count(value: number): string {
  return value.toLocaleString("en-GB");
}

/** Three digits, or all of those before the point. */
export function numeral(value: number): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.1 ? 2 : 4;
  return value.toLocaleString("en-GB", {
    minimumFractionDigits: size >= 0.1 ? digits : 0,
    maximumFractionDigits: digits,
  });
}

/** The median, and the spread where there is one. */
export function spread({ median: middle, min, max }: Figure): string {
  const [low, high] = [numeral(min), numeral(max)];
  return low === high ? numeral(middle) : `${numeral(middle)} (${low}–${high})`;
}
