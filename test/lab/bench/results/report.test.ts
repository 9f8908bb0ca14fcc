import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { SUITES } from "../suites.ts";
import { writePage, writeReport } from "./report.ts";
import { type Part, Results } from "./results.ts";

const folder = mkdtempSync(join(tmpdir(), "waybill-report-test-"));
afterAll(() => rmSync(folder, { recursive: true }));

const WHERE = { machine: "a machine", node: "v1", rounds: 3, isQuick: false };
const report = () => readFileSync(join(folder, "REPORT.md"), "utf8");

function partOf(suite: string, commit: string, plots: readonly string[], cpu: number[]): Part {
  const results = new Results();
  results.table("costs", [{ name: "CPU", unit: "µs" }], [["a call", { CPU: cpu }]]);
  results.goal("CPU / floor", cpu, { unit: "×", atMost: 2 });
  for (const file of plots) {
    const series = [{ name: "a", points: [1, 2].map((at) => ({ at, value: at })) }];
    results.plot({ file, title: file, kind: "lines", across: "x", up: "y", series });
  }
  return results.part(suite, "What it shows.", { ...WHERE, date: "today", commit });
}

test("a repeated suite replaces only its own section", () => {
  const order = ["first", "second"];
  writeReport(folder, order, partOf("second", "c1", ["old", "same"], [1, 2, 3]));
  writeReport(folder, order, partOf("first", "c1", [], [1, 1, 1]));
  writeReport(folder, order, partOf("second", "c2", ["same", "new"], [4, 3, 5]));
  expect(readdirSync(join(folder, "report")).sort()).toEqual([
    "first.json",
    "second.json",
    "second.new.svg",
    "second.same.svg",
  ]);
  const text = report();
  expect(text.indexOf("## first")).toBeLessThan(text.indexOf("## second"));
  expect(text).toContain("today, commit c1, a machine, Node v1, 3 rounds");
  expect(text.match(/commit c2/g)).toHaveLength(1);
  expect(text).toContain("| a call | 4.00 (3.00–5.00) |");
});

test("the median decides whether a goal is met", () => {
  expect(report()).toContain("| CPU / floor | ≤ 2 × | 1.00 × | met |");
  expect(report()).toContain("| CPU / floor | ≤ 2 × | 4.00 (3.00–5.00) × | **missed** |");
});

test("a value that is not finite is no figure", () => {
  expect(() => partOf("first", "c1", [], [])).toThrow("no figure");
  expect(() => partOf("first", "c1", [], [1, Number.NaN])).toThrow("no figure");
});

test("REPORT.md matches its figures and findings", () => {
  const own = join(import.meta.dirname, "..");
  const copy = join(folder, "own");
  cpSync(join(own, "report"), join(copy, "report"), { recursive: true });
  const page = writePage(copy, Object.keys(SUITES));
  const isSame = readFileSync(page, "utf8") === readFileSync(join(own, "REPORT.md"), "utf8");
  expect(isSame, "regenerate it: npm run bench -- --page").toBe(true);
});
