/**
 * Checks everything that a commit must pass besides the tests: format, lint, types, protos, and that
 * generated files match their sources. Runs every step, and fails if any of them fails.
 *
 * Usage: npm run check [-- STEP…]   names of steps, such as "states of sessions"; default: all
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { delimiter, join } from "node:path";

const project = join(import.meta.dirname, "..");
const bin = join(project, "node_modules", ".bin");
const env = { ...process.env, PATH: `${bin}${delimiter}${process.env["PATH"]}` };

interface Step {
  name: string;
  run(): string | undefined;
}

/** Makes a step that runs a command. */
function command(name: string, cwd: string, ...words: string[]): Step {
  return {
    name,
    run() {
      const { status, stdout, stderr, error } = spawnSync(words[0]!, words.slice(1), {
        cwd: join(project, cwd),
        env,
        encoding: "utf8",
      });
      return status === 0 ? undefined : (error?.message ?? `${stdout}${stderr}`);
    },
  };
}

/** Makes a step that generates files again and fails if any has changed. */
function unchanged(name: string, folder: string, make: Step): Step {
  return {
    name,
    run() {
      const before = digests(join(project, folder));
      const failure = make.run();
      if (failure !== undefined) return failure;
      const after = digests(join(project, folder));
      const files = new Set([...before.keys(), ...after.keys()]);
      const changed = [...files].filter((file) => before.get(file) !== after.get(file));
      if (changed.length === 0) return undefined;
      return `made anew, these differ: commit them\n  ${changed.join("\n  ")}`;
    },
  };
}

function digests(folder: string): Map<string, string> {
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((file) => join(folder, file))
    .filter((file) => statSync(file).isFile());
  return new Map(
    files.map((file) => [file, createHash("sha256").update(readFileSync(file)).digest("hex")]),
  );
}

const NOT_OURS = ["buf", "google", "grpc"].flatMap((name) => ["--exclude-path", `vendor/${name}`]);
/**
 * Compares protos and session states with the last release, not with the last commit: an unreleased change
 * is free. Only a release replaces that image: `cp proto/gen/image.binpb proto/released/`. Do not replace it
 * to pass: the new program would lose fields that running programs have sealed.
 */
const BREAKING = [
  "--against",
  "released/image.binpb",
  "--config",
  '{"version":"v2","breaking":{"use":["WIRE_JSON"],"ignore":["buf","google","grpc"]}}',
];

const steps: Step[] = [
  command("format and lint", ".", "biome", "ci", "--colors=off", "."),
  command("types", ".", "tsc", "-p", "."),
  command("security requirements", ".", "node", "test/securityIds.ts"),
  command("files of RPCs", ".", "node", "test/rpcFiles.ts"),
  command("imports", ".", "node", "test/imports.ts"),
  command("lockfile", ".", "node", "test/lockfile.ts"),
  command("proto format", "proto", "buf", "format", "-d", "--exit-code", ...NOT_OURS),
  command("proto lint", "proto", "buf", "lint"),
  command("proto breaking", "proto", "buf", "breaking", "gen/image.binpb", ...BREAKING),
  command("states of sessions", ".", "node", "test/stateChanges.ts"),
  unchanged("public API", "shared", command("", ".", "node", "test/publicApi.ts")),
  unchanged("generated code", "proto/gen", command("", ".", "node", "proto/generate.ts")),
  unchanged(
    "generated front proxy",
    "deploy/kubernetes/files",
    command("", ".", "node", "deploy/kubernetes/make.ts"),
  ),
  unchanged(
    "demo data",
    "services/catalog/import",
    command("", ".", "node", "services/catalog/import/makeFilms.ts"),
  ),
];

const chosen = process.argv.slice(2);
const unknown = chosen.filter((each) => !steps.some(({ name }) => name === each));
if (unknown.length > 0) {
  console.error(
    `no step is called ${unknown.join(", ")}: ${steps.map(({ name }) => name).join(", ")}`,
  );
  process.exit(2);
}
let failed = 0;
for (const { name, run } of steps) {
  if (chosen.length > 0 && !chosen.includes(name)) continue;
  const failure = run();
  console.log(`${failure === undefined ? "ok    " : "FAILED"} ${name}`);
  if (failure === undefined) continue;
  failed += 1;
  console.log(failure.trimEnd().replace(/^/gm, "    "));
}
process.exit(failed === 0 ? 0 : 1);
