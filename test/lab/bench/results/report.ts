import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { draw } from "./draw.ts";
import { spread } from "./figures.ts";
import { aimOf, type Part, type Table } from "./results.ts";

/** Hand-written findings, one file per suite, copied into the report. */
const FINDINGS = join(import.meta.dirname, "..", "findings");

const INTRODUCTION = `# The cost of carrying state

\`npm run bench\` generates this page; the text in \`findings/\` is written by hand and included. A run of some suites
replaces only their sections. Contenders are measured alternately, in rounds. A figure is the median of the rounds,
with the range in brackets. Ratios are computed within each round. Only ratios carry over to another machine.`;

/**
 * Replaces a suite's part and writes the report of all parts.
 *
 * @param folder receives `REPORT.md`, and `report/` with the pictures and each part as JSON
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
 * Writes the page from all saved parts and the current findings.
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
      isQuick ? "; **quick: fewer and shorter rounds; do not rely on these figures**" : ""
    }.*`,
    ...(goals.length > 0 ? [goalTable(part)] : []),
    ...(existsSync(findings) ? [readFileSync(findings, "utf8").trim()] : []),
    ...plots.map(({ file, title }) => `![${title}](report/${pictureOf(part, file)})`),
    ...tables.map((table) => `**${table.title}**\n\n${rowsOf(table)}`),
    ...(notes.length > 0 ? [notes.map(({ text }) => `- ${text}`).join("\n")] : []),
    ...(leftOut.length > 0
      ? [leftOut.map(({ what, why }) => `- Not measured: ${what}: ${why}`).join("\n")]
      : []),
  ].join("\n\n");
}

function goalTable({ goals }: Part): string {
  return markdownTable([
    ["measure", "goal", "measured", ""],
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
