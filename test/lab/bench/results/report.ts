import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { draw } from "./draw.ts";
import { spread } from "./figures.ts";
import { aimOf, type Part, type Table } from "./results.ts";

/** What people have written about a suite's results, a file each: taken into the report as it is. */
const FINDINGS = join(import.meta.dirname, "..", "findings");

const INTRODUCTION = `# What carrying the state costs

\`npm run bench\` has made this page, and makes it anew: what stands in \`findings/\` is written by hand and
taken in. A run of some suites replaces their parts alone. Contenders were measured in turn, in rounds; a
figure is the median of the rounds, and the spread stands in brackets. A ratio is taken in each round, of
two that were measured in it. Only ratios mean something on another machine.`;

/**
 * Puts a part in the place of the same suite's, and makes the report of all there are.
 *
 * @param folder gets `REPORT.md`, and `report/` with pictures and, for the next time, all parts as JSON
 * @param order of the suites
 * @returns the report's path
 */
export function writeReport(folder: string, order: readonly string[], part: Part): string {
  const beside = join(folder, "report");
  mkdirSync(beside, { recursive: true });
  const former = readdirSync(beside).filter((file) => file.startsWith(`${part.suite}.`));
  for (const file of former) rmSync(join(beside, file));
  writeFileSync(join(beside, `${part.suite}.json`), `${JSON.stringify(part, null, 2)}\n`);
  for (const plot of part.plots) {
    writeFileSync(join(beside, pictureOf(part, plot.file)), `${draw(plot)}\n`);
  }
  return writePage(folder, order);
}

/**
 * Makes the page anew of all parts that are kept, with what is written of them now.
 *
 * @returns its path
 */
export function writePage(folder: string, order: readonly string[]): string {
  const beside = join(folder, "report");
  const sections = order
    .map((suite) => join(beside, `${suite}.json`))
    .filter((file) => existsSync(file))
    .map((file) => section(JSON.parse(readFileSync(file, "utf8")) as Part));
  const path = join(folder, "REPORT.md");
  writeFileSync(path, `${[INTRODUCTION, ...sections].join("\n\n")}\n`);
  return path;
}

function pictureOf({ suite }: Part, plot: string): string {
  return `${suite}.${plot}.svg`;
}

function section(part: Part): string {
  const { suite, about, tables, goals, notes, leftOut, plots } = part;
  const { date, commit, machine, node, rounds, isQuick } = part.circumstances;
  const findings = join(FINDINGS, `${suite}.md`);
  return [
    `## ${suite}\n\n${about}`,
    `*${date}, commit ${commit}, ${machine}, Node ${node}, ${rounds} rounds${
      isQuick ? "; **quick: fewer and shorter rounds, not figures to go by**" : ""
    }.*`,
    ...(goals.length > 0 ? [goalTable(part)] : []),
    ...(existsSync(findings) ? [readFileSync(findings, "utf8").trim()] : []),
    ...plots.map(({ file, title }) => `![${title}](report/${pictureOf(part, file)})`),
    ...tables.map((table) => `**${table.title}**\n\n${rowsOf(table)}`),
    ...(notes.length > 0 ? [notes.map(({ text }) => `- ${text}`).join("\n")] : []),
    ...(leftOut.length > 0
      ? [leftOut.map(({ what, why }) => `- Left out: ${what}: ${why}`).join("\n")]
      : []),
  ].join("\n\n");
}

function goalTable({ goals }: Part): string {
  return markdownTable([
    ["goal", "aimed at", "measured", ""],
    ...goals.map((goal) => [
      goal.name,
      aimOf(goal),
      `${spread(goal.figure)} ${goal.unit}`,
      goal.isMet ? "met" : "**missed**",
    ]),
  ]);
}

function rowsOf({ measures, rows }: Table): string {
  return markdownTable([
    ["", ...measures.map(({ name, unit }) => (name === "measured" ? unit : `${name}, ${unit}`))],
    ...rows.map(({ name, figures }) => [
      name,
      ...measures.map((measure) => {
        const figure = figures[measure.name];
        return figure === undefined ? "" : spread(figure);
      }),
    ]),
  ]);
}

function markdownTable([head, ...rows]: string[][]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const rule = `|---|${"---:|".repeat(head!.length - 1)}`;
  return [line(head!), rule, ...rows.map(line)].join("\n");
}
