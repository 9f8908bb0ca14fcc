import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { CACHE } from "../../deploy/local/paths.ts";

/** Kubernetes version of the schemas that validate the manifests. */
export const KUBERNETES_VERSION = "1.37.0";

/**
 * Returns a folder with each resource's schema for kubeconform, from the Python package
 * kubernetes-validate. Caches the folder.
 */
export function kubernetesSchemas(): string {
  const folder = join(CACHE, `kubernetes-schemas-${KUBERNETES_VERSION}`);
  if (existsSync(folder)) return folder;
  const half = `${folder}.half`;
  const wheel = `${folder}.wheel`;
  for (const left of [half, wheel]) rmSync(left, { recursive: true, force: true });
  mkdirSync(half, { recursive: true });
  const args = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"];
  args.push("--only-binary=:all:", "--require-hashes", "--root-user-action=ignore");
  args.push("--target", wheel, "-r", join(import.meta.dirname, "schemas.txt"));
  execFileSync("python3", args, { stdio: "pipe" });
  const version = `v${KUBERNETES_VERSION}-local-strict`;
  const source = join(wheel, "kubernetes_validate", "kubernetes-json-schema", version);
  const read = (file: string) => JSON.parse(readFileSync(join(source, file), "utf8")) as Schema;
  const { $defs: all = {} } = read("_definitions.json");
  for (const file of readdirSync(source)) {
    const schema = read(file);
    if (schema.properties?.["kind"] === undefined) continue;
    writeFileSync(join(half, file), standalone(schema, all));
  }
  rmSync(wheel, { recursive: true });
  renameSync(half, folder);
  return folder;
}

interface Schema {
  properties?: Record<string, unknown>;
  $defs?: Record<string, unknown>;
}

/** Matches references from a resource's file, and within the file of definitions. */
const REFERENCE = /"(?:\/api\/_definitions\.json)?#\/\$defs\/([^"]+)"/g;

/** Inlines the definitions that a schema references in another file. */
function standalone(schema: Schema, all: Record<string, unknown>): string {
  const $defs: Record<string, unknown> = {};
  const add = (part: unknown) => {
    for (const [, name] of JSON.stringify(part).matchAll(REFERENCE)) {
      if (name === undefined || name in $defs) continue;
      $defs[name] = all[name];
      add(all[name]);
    }
  };
  add(schema);
  // The id names a server that does not exist.
  return JSON.stringify({ ...schema, $id: undefined, $defs }).replace(REFERENCE, '"#/$defs/$1"');
}
