/** The middle of some figures. */
export function median(figures: number[]): number {
  const sorted = figures.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** Prints a figure's median and spread. */
export function row(what: string, figures: number[], unit: string): void {
  const text = (figure: number) => figure.toFixed(figure < 100 ? 1 : 0);
  const spread = `${text(Math.min(...figures))} to ${text(Math.max(...figures))}`;
  console.log(`  ${what.padEnd(72)} ${text(median(figures)).padStart(7)} ${unit}  (${spread})`);
}
