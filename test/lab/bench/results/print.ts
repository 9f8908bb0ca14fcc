import { styleText } from "node:util";
import { spread } from "./figures.ts";
import { aimOf, type Part, type Table } from "./results.ts";

/** Prints a suite's part, with colours on a terminal. */
export function printPart(part: Part): void {
  const { suite, about, tables, goals, notes, leftOut, circumstances } = part;
  const style = (how: Parameters<typeof styleText>[0], text: string) =>
    styleText(how, text, { stream: process.stdout });
  console.log(`\n${style("bold", suite)}: ${about}`);
  if (circumstances.isQuick) console.log(style("yellow", "quick: fewer and shorter rounds"));
  for (const table of tables) {
    const [head, ...rows] = lines(table);
    console.log(`\n  ${table.title}\n  ${style("dim", head!)}`);
    for (const row of rows) console.log(`  ${row}`);
  }
  if (goals.length > 0) console.log("");
  const width = Math.max(...goals.map(({ name }) => name.length));
  for (const goal of goals) {
    const verdict = goal.isMet ? style("green", "met   ") : style("red", "MISSED");
    const found = `${spread(goal.figure)} ${goal.unit}`;
    console.log(`  ${verdict} ${goal.name.padEnd(width)}  ${found}   goal: ${aimOf(goal)}`);
  }
  if (notes.length + leftOut.length > 0) console.log("");
  for (const { text } of notes) console.log(`  ${text}`);
  for (const { what, why } of leftOut)
    console.log(style("yellow", `  not measured: ${what}: ${why}`));
}

function lines({ measures, rows }: Table): string[] {
  const cells = [
    ["", ...measures.map(({ name, unit }) => (name === "measured" ? unit : `${name}, ${unit}`))],
    ...rows.map(({ name, figures }) => [
      name,
      ...measures.map((measure) => {
        const figure = figures[measure.name];
        return figure === undefined ? "" : spread(figure);
      }),
    ]),
  ];
  const widths = cells[0]!.map((_, column) =>
    Math.max(...cells.map((line) => line[column]!.length)),
  );
  return cells.map((line) =>
    line
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!),
      )
      .join("  ")
      .trimEnd(),
  );
}
