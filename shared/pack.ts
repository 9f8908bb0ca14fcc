/**
 * Packs the SDK for npm: JavaScript and type declarations of its subpaths, the proto of the options, and a
 * package.json with the dependencies that this code imports. Prints the tarball's path.
 *
 * Usage: node shared/pack.ts [FOLDER]   folder for the tarball; default: the current one
 */
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

/** Packages at an exact version: the SDK uses private fields of grpc-js. */
const PINNED: ReadonlySet<string> = new Set(["@grpc/grpc-js"]);

const project = join(import.meta.dirname, "..");
const stage = join(project, ".cache", "pack");
const destination = resolve(process.argv[2] ?? ".");

rmSync(stage, { recursive: true, force: true });
mkdirSync(stage, { recursive: true });
const tsc = join(project, "node_modules", ".bin", "tsc");
execFileSync(tsc, ["-p", join(project, "shared", "tsconfig.json")], { stdio: "inherit" });

const root = JSON.parse(readFileSync(join(project, "package.json"), "utf8")) as {
  version: string;
  description: string;
  license: string;
  exports: Record<string, string>;
  dependencies: Record<string, string>;
};
const used = packagesUsed(join(stage, "dist"));
const versions = Object.entries(root.dependencies).filter(([name]) => used.has(name));
const manifest = {
  name: "waybill",
  version: root.version,
  description: root.description,
  license: root.license,
  type: "module",
  engines: { node: ">=22.12" },
  exports: {
    ...Object.fromEntries(
      Object.entries(root.exports).map(([subpath, file]) => [subpath, built(file)]),
    ),
    "./proto/*": "./proto/*",
  },
  dependencies: Object.fromEntries(
    versions.map(([name, version]) => [name, PINNED.has(name) ? version : `^${version}`]),
  ),
};
writeFileSync(join(stage, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
// The code reads its migrations from its own folder.
const migrations = join("shared", "anchors", "migrations");
cpSync(join(project, migrations), join(stage, "dist", migrations), { recursive: true });
const options = join("proto", "waybill", "options", "v1", "options.proto");
cpSync(join(project, options), join(stage, options));
cpSync(join(project, "LICENSE"), join(stage, "LICENSE"));
for (const file of readdirSync(join(project, "shared")).filter((name) => name.endsWith(".md"))) {
  cpSync(join(project, "shared", file), join(stage, file));
}

const args = ["pack", "--silent", "--pack-destination", destination];
const tarball = execFileSync("npm", args, { cwd: stage, encoding: "utf8" }).trim();
console.log(join(destination, tarball));

function built(file: string): { types: string; default: string } {
  const stem = `./dist/${file.slice(2, -".ts".length)}`;
  return { types: `${stem}.d.ts`, default: `${stem}.js` };
}

/** Lists the packages that the compiled code and its declarations import. */
function packagesUsed(folder: string): Set<string> {
  const found = new Set<string>();
  for (const file of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    if (!/\.(js|d\.ts)$/.test(file)) continue;
    const text = readFileSync(join(folder, file), "utf8");
    for (const [, name] of text.matchAll(/(?:from|import) "((?:@[\w-]+\/)?[\w.-]+)["/]/g)) {
      if (name !== undefined) found.add(name);
    }
  }
  return found;
}
