/**
 * Writes shared/API.txt: the names that the package's subpaths export, and their declarations, without
 * comments. A change of the public API shows there in review. Fails when a name has no docstring, or when
 * there are more names than MAX_NAMES.
 *
 * Usage: node test/publicApi.ts
 */
import { execFileSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

/** More names than this are more than a newcomer reads. */
const MAX_NAMES = 75;

const project = join(import.meta.dirname, "..");
const out = join(project, ".cache", "api");
const { exports: doors } = JSON.parse(readFileSync(join(project, "package.json"), "utf8")) as {
  exports: Record<string, string>;
};

rmSync(out, { recursive: true, force: true });
const tsc = join(project, "node_modules", ".bin", "tsc");
const emit = ["-p", "shared/tsconfig.json", "--emitDeclarationOnly", "--outDir", out];
execFileSync(tsc, emit, { cwd: project, stdio: "inherit" });

const names = new Map<string, string>();
const undocumented: string[] = [];
const chapters: string[] = [];
for (const [door, file] of Object.entries(doors)) {
  const entries: string[] = [];
  for (const { name, from } of exportsOf(file)) {
    const home = names.get(name);
    if (home !== undefined) {
      entries.push(`${name}: as in ${home}`);
      continue;
    }
    names.set(name, `waybill${door.slice(1)}`);
    const { text, isDocumented } = declarationOf(name, from);
    if (!isDocumented) undocumented.push(`${name} (${relative(project, from)})`);
    entries.push(text);
  }
  chapters.push(`# waybill${door.slice(1)}\n\n${entries.join("\n\n")}\n`);
}
const problems = undocumented.map((name) => `no docstring: ${name}`);
if (names.size > MAX_NAMES) problems.push(`${names.size} names, more than ${MAX_NAMES}`);
if (problems.length > 0) {
  console.error(problems.join("\n"));
  process.exit(1);
}
const head = `Public API: ${names.size} names. Made by test/publicApi.ts: do not edit.\n\n`;
writeFileSync(join(project, "shared", "API.txt"), head + chapters.join("\n"));

/** The names that a subpath's file exports, with the modules that declare them. */
function exportsOf(file: string): { name: string; from: string }[] {
  const source = readFileSync(join(project, file), "utf8");
  const found: { name: string; from: string }[] = [];
  for (const [, list, from] of source.matchAll(
    /export (?:type )?\{([^}]*)\} from "([^"]+)\.ts";/g,
  )) {
    for (const word of list!.split(",")) {
      const name = word.trim().replace(/^type /, "");
      if (name !== "") found.push({ name, from: join(project, dirname(file), `${from}.ts`) });
    }
  }
  return found;
}

/** Cuts a name's declaration out of its module's declarations. */
function declarationOf(name: string, module: string): { text: string; isDocumented: boolean } {
  const file = join(out, relative(project, module)).replace(/\.ts$/, ".d.ts");
  const source = readFileSync(file, "utf8");
  const start = new RegExp(
    `^export (?:declare )?(?:abstract )?(?:class|function|const|interface|type) ${name}\\b`,
    "m",
  );
  const at = source.search(start);
  if (at < 0) throw new Error(`${file} declares no ${name}`);
  const before = source.slice(0, at).trimEnd();
  const rest = source.slice(at);
  const end = /\n\S/.exec(rest.replace(/\n[})]/g, (close) => `\n ${close.slice(2)}`));
  const whole = rest.slice(0, end?.index ?? rest.length);
  const text = whole
    .replace(/\/\*\*[\s\S]*?\*\//g, "")
    .replace(/^\s*\/\/.*$/gm, "")
    .replace(/[ \t]+$/gm, "")
    .replace(/\n{2,}/g, "\n")
    .trim();
  return { text, isDocumented: before.endsWith("*/") };
}
