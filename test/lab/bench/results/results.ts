import { type Figure, figureOf } from "./figures.ts";

/*\n * The results of a suite, for the terminal, JSON and plots. Lists hold only objects, so that the formatter keeps\n * the layout of the JSON.\n */

export interface Measure {
  readonly name: string;
  readonly unit: string;
}

export interface Row {
  readonly name: string;
  /** By the measure's name. A missing figure was not measured or does not apply. */
  readonly figures: Readonly<Record<string, Figure>>;
}

export interface Table {
  readonly title: string;
  readonly measures: readonly Measure[];
  readonly rows: Row[];
}

/** A goal and the figure that decides it: the median. */
export interface Goal {
  readonly name: string;
  readonly figure: Figure;
  readonly unit: string;
  readonly atMost?: number;
  readonly atLeast?: number;
  readonly isMet: boolean;
}

/** Bars: `at` is a name, and series are stacked. Lines: `at` is a number on a logarithmic axis. */
export interface Plot {
  /** Name of the picture, without its extension. */
  readonly file: string;
  readonly title: string;
  readonly kind: "bars" | "lines";
  readonly across: string;
  readonly up: string;
  readonly series: readonly Series[];
}

export interface Series {
  readonly name: string;
  readonly points: readonly { readonly at: number | string; readonly value: number }[];
}

/** The machine and conditions of a run. */
export interface Circumstances {
  /** ISO 8601, UTC, to the minute. */
  readonly date: string;
  readonly commit: string;
  readonly machine: string;
  readonly node: string;
  readonly rounds: number;
  /** Fewer and shorter rounds, only to test the suite. */
  readonly isQuick: boolean;
}

/** A suite's section of the report. */
export interface Part {
  readonly suite: string;
  /** One sentence about the suite. */
  readonly about: string;
  readonly circumstances: Circumstances;
  readonly tables: readonly Table[];
  readonly goals: readonly Goal[];
  readonly notes: readonly { readonly text: string }[];
  readonly leftOut: readonly { readonly what: string; readonly why: string }[];
  readonly plots: readonly Plot[];
}

/** Collects a suite's results. */
export class Results {
  readonly #tables: Table[] = [];
  readonly #goals: Goal[] = [];
  readonly #notes: { text: string }[] = [];
  readonly #leftOut: { what: string; why: string }[] = [];
  readonly #plots: Plot[] = [];

  /** @param rows by name, each with the figures of its rounds by measure */
  table(
    title: string,
    measures: readonly Measure[],
    rows: Iterable<readonly [name: string, rounds: Readonly<Record<string, readonly number[]>>]>,
  ): void {
    const made = Array.from(rows, ([name, rounds]) => {
      const figures: Record<string, Figure> = {};
      for (const measure of measures) {
        const each = rounds[measure.name];
        if (each !== undefined) figures[measure.name] = figureOf(each);
      }
      return { name, figures };
    });
    this.#tables.push({ title, measures, rows: made });
  }

  /** Adds a table of one column. */
  list(title: string, unit: string, rows: Readonly<Record<string, readonly number[]>>): void {
    const measures = [{ name: "measured", unit }];
    const named = Object.entries(rows).map(([name, each]) => [name, { measured: each }] as const);
    this.table(title, measures, named);
  }

  /** @param rounds the figure of each round */
  goal(
    name: string,
    rounds: readonly number[],
    aim: { readonly unit: string; readonly atMost?: number; readonly atLeast?: number },
  ): void {
    const figure = figureOf(rounds);
    const { atMost = Number.POSITIVE_INFINITY, atLeast = Number.NEGATIVE_INFINITY } = aim;
    const isMet = figure.median <= atMost && figure.median >= atLeast;
    this.#goals.push({ name, figure, ...aim, isMet });
  }

  note(text: string): void {
    this.#notes.push({ text });
  }

  leftOut(what: string, why: string): void {
    this.#leftOut.push({ what, why });
  }

  plot(plot: Plot): void {
    this.#plots.push(plot);
  }

  part(suite: string, about: string, circumstances: Circumstances): Part {
    return {
      ...{ suite, about, circumstances, tables: this.#tables, goals: this.#goals },
      ...{ notes: this.#notes, leftOut: this.#leftOut, plots: this.#plots },
    };
  }
}

/** Formats a goal, such as `≤ 1.25 ×`. */
export function aimOf({ atMost, atLeast, unit }: Goal): string {
  const bounds = [
    ...(atMost === undefined ? [] : [`≤ ${atMost}`]),
    ...(atLeast === undefined ? [] : [`≥ ${atLeast}`]),
  ];
  return `${bounds.join(", ")} ${unit}`;
}
