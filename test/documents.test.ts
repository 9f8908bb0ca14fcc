import { existsSync, globSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { status } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { Errors } from "waybill";
import { PROJECT } from "../deploy/local/paths.ts";
import { codeBlocks, PAGES, readPage } from "./documents.ts";

/** Pages of the package. A link from one to another page would break where the package is installed. */
const SHIPPED = PAGES.filter((page) => /^shared\/[^/]+$/.test(page));

/** Languages whose blocks a test runs or compiles, by page. `test/e2e/readme.test.ts`, and `test/kubernetes`. */
const RUN: Readonly<Record<string, readonly string[]>> = {
  "README.md": ["bash", "proto", "ts"],
  "deploy/README.md": ["bash"],
  "deploy/kubernetes/README.md": ["sh", "console"],
  "services/token/README.md": ["shell"],
  "shared/README.md": ["proto", "ts", "yaml"],
};
/** `sh`: the test of commands below checks it. `mermaid`: a diagram. */
const ANYWHERE = ["sh", "mermaid"];

/** All pages but the generated report and its sources. */
const GUIDES = PAGES.filter((page) => !page.startsWith("test/lab/"));

/** The text of a page without its code blocks. */
const prose = (page: string) => readPage(page).replaceAll(/^```.*?^```$/gms, "");

/** The fragment that a heading is linked by, as GitHub makes it. */
const fragment = (heading: string) =>
  heading
    .toLowerCase()
    .replaceAll(/[^\w\- ]/g, "")
    .replaceAll(" ", "-");

test("links in documents lead to files and headings that exist", () => {
  for (const page of PAGES) {
    for (const [, link = ""] of prose(page).matchAll(/\]\(([^)]+)\)/g)) {
      if (/^https?:/.test(link)) continue;
      const [path = "", heading] = link.split("#");
      const target = path === "" ? page : normalize(join(dirname(page), path));
      expect(existsSync(join(PROJECT, target)), `${page}: ${link}`).toBe(true);
      if (SHIPPED.includes(page)) expect(SHIPPED, `${page}: ${link}`).toContain(target);
      if (heading === undefined) continue;
      const headings = [...readPage(target).matchAll(/^#+ (.*)$/gm)].map(([, text]) => text!);
      expect(headings.map(fragment), `${page}: ${link}`).toContain(heading);
    }
  }
});

test("documents have only code blocks that a test runs", () => {
  for (const page of PAGES) {
    for (const { language } of codeBlocks(page)) {
      expect([...(RUN[page] ?? []), ...ANYWHERE], page).toContain(language);
    }
  }
});

test("commands in documents name scripts, tests and files that exist", () => {
  const tests = globSync("{shared,services,deploy,test}/**/*.test.ts", { cwd: PROJECT }).join("\n");
  const scripts: unknown = JSON.parse(readPage("package.json")).scripts;
  const isFile = (path: string) => existsSync(join(PROJECT, path));
  let commands = 0;
  for (const page of GUIDES) {
    for (const [command, verb = "", rest = ""] of readPage(page).matchAll(
      /(npm run|npm test|npm start|node)((?: +[\w./:-]+)+)/g,
    )) {
      const name = `${page}: ${command}`;
      const args = rest.trim().split(/ +/);
      if (verb === "node") {
        if (!args[0]!.endsWith(".ts")) continue;
        expect(isFile(args[0]!), name).toBe(true);
      } else if (verb === "npm run") {
        if (args[0] === "--silent") args.shift();
        expect(scripts, name).toHaveProperty([args[0]!]);
        const suites = args[0] === "bench" ? args.slice(2).filter((arg) => !/^-/.test(arg)) : [];
        for (const suite of suites) expect(isFile(`test/lab/bench/${suite}.ts`), name).toBe(true);
      } else if (verb === "npm test") {
        for (const path of args.slice(1)) {
          if (path.startsWith("-")) break;
          expect(tests, name).toContain(path);
        }
      }
      commands += 1;
    }
  }
  expect(commands).toBeGreaterThan(80);
});

/** A suite's part of the benchmark report. */
function reportOf(suite: string): string {
  const [, ...parts] = readPage("test/lab/bench/REPORT.md").split(/^## /m);
  return parts.find((part) => part.startsWith(`${suite}\n`)) ?? "";
}

test("figures beside a bench command match its section of the report", () => {
  let figures = 0;
  for (const page of GUIDES) {
    for (const [row, cells = "", suite] of readPage(page).matchAll(
      /^\|[^|]*\|(.*)\| `npm run bench -- (\w+)` \|$/gm,
    )) {
      const part = reportOf(suite!);
      for (const [figure] of cells.matchAll(/\d[\d,.]*/g)) {
        figures += 1;
        const found = new RegExp(`(?<![\\d.,])${figure.replaceAll(".", "\\.")}(?!\\d)`).test(part);
        expect(found, `${page}: ${figure} in ${row}`).toBe(true);
      }
    }
  }
  expect(figures).toBeGreaterThan(15);
});

test("the CPU of other designs is in the report, rounded", () => {
  const figures = [...readPage("shared/COMPARISON.md").matchAll(/(\d+) µs/g)];
  expect(figures.length).toBeGreaterThan(8);
  for (const [, figure] of figures) {
    const found = new RegExp(`\\| ${figure}(\\.\\d)? \\(`).test(reportOf("call"));
    expect(found, `${figure} µs`).toBe(true);
  }
});

test("the guide lists every error with its code", () => {
  const table = [...readPage("shared/README.md").matchAll(/^\| `([A-Z_]+)` \| ([A-Z_]+) \|/gm)];
  const documented = table.map(([, reason, code]) => `${reason} ${code}`);
  const thrown = Object.values(Errors).map((make) => make());
  expect(documented.sort()).toEqual(
    thrown.map(({ reason, code }) => `${reason} ${status[code]}`).sort(),
  );
});

test("objects that documents create are exports of the package", async () => {
  const pages = PAGES.filter((page) => page === "README.md" || SHIPPED.includes(page));
  const texts = pages.map(readPage).join("\n");
  const made = new Set([...texts.matchAll(/\bnew ([A-Z]\w+)\(/g)].map(([, name]) => name!));
  expect(made.size).toBeGreaterThan(10);
  const subpaths = ["", "/client", "/postgres", "/auth", "/testing"];
  const modules = await Promise.all(subpaths.map((each) => import(`waybill${each}`)));
  const exported = [...modules.flatMap(Object.keys), "Error", "Uint8Array"];
  for (const name of made) expect(exported).toContain(name);
});

test("each of the eighteen promises names a command that shows it", () => {
  const promises = readPage("shared/GUARANTEES.md").match(
    /^\| (aspect|benefit|challenge) \| [^|]+ \| `npm (test|run bench) -- /gm,
  );
  expect(promises).toHaveLength(18);
});

test("the README has at most 120 lines", () => {
  expect(readPage("README.md").trimEnd().split("\n").length).toBeLessThanOrEqual(120);
});
