import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { parseAllDocuments } from "yaml";
import { PROJECT } from "../../deploy/local/paths.ts";
import { toolPath } from "../../deploy/local/tools.ts";
import { CHART, type Manifest, run } from "./render.ts";
import { KUBERNETES_VERSION } from "./schemas.ts";

/** A Kubernetes secret: bytes by key. */
export type Secret = Readonly<Record<string, Buffer>>;

/** Objects that the README's commands create in a cluster. */
export interface Installed {
  readonly secrets: ReadonlyMap<string, Secret>;
  readonly manifests: readonly Manifest[];
}

/**
 * Runs the commands of the chart's README. Without a cluster, `kubectl create secret` is emulated by its
 * documented rules, and `helm install` by `helm template`; all other commands run unchanged.
 *
 * @param folder receives the secrets
 */
export function install(folder: string, databaseUrl: string): Installed {
  const readme = readFileSync(join(CHART, "README.md"), "utf8");
  const [, commands] = /^```sh\n(.*?)^```$/ms.exec(readme)!;
  const secretsFolder = join(folder, "secrets");
  const script = commands!
    .replace(/^export DATABASE_URL=\S+/m, `export DATABASE_URL='${databaseUrl}'`)
    .replaceAll(/\bsecrets\b/g, secretsFolder);
  const record = join(folder, "commands");
  writeFileSync(record, "");
  const recorder = join(folder, "bin");
  mkdirSync(recorder);
  const code = `require("fs").appendFileSync(${JSON.stringify(record)}, JSON.stringify(process.argv.slice(1)) + "\\n")`;
  for (const command of ["kubectl", "helm"]) {
    const text = `#!/bin/sh\nexec '${process.execPath}' -e '${code}' ${command} "$@"\n`;
    writeFileSync(join(recorder, command), text, { mode: 0o755 });
  }
  execFileSync("bash", ["-euc", script], {
    cwd: PROJECT,
    env: { ...process.env, PATH: `${recorder}:${process.env["PATH"]}` },
    stdio: ["ignore", "ignore", "inherit"],
  });

  const secrets = new Map<string, Secret>();
  let manifests: readonly Manifest[] | undefined;
  for (const line of readFileSync(record, "utf8").trimEnd().split("\n")) {
    const words = JSON.parse(line) as string[];
    if (words.slice(0, 4).join(" ") === "kubectl create secret generic") {
      const [name, ...flags] = words.slice(4);
      if (secrets.has(name!)) throw new Error(`the README makes the secret ${name} twice`);
      secrets.set(name!, secretFrom(flags));
    } else if (words.slice(0, 2).join(" ") === "helm install") {
      manifests = template(words.slice(2));
    } else {
      throw new Error(`the README runs an unknown command: ${words.join(" ")}`);
    }
  }
  if (manifests === undefined) throw new Error("the README does not install the chart");
  return { secrets, manifests };
}

/** Reads `--from-file=[KEY=]PATH` and `--from-literal=KEY=VALUE` as kubectl does: bytes unchanged. */
function secretFrom(flags: readonly string[]): Secret {
  const secret: Record<string, Buffer> = {};
  for (const flag of flags) {
    const [, kind, first, rest] = /^--from-(file|literal)=([^=]*)(?:=(.*))?$/s.exec(flag) ?? [];
    if (kind === "literal") secret[first!] = Buffer.from(rest!);
    else if (kind !== "file") throw new Error(`kubectl create secret has no flag ${flag} here`);
    else if (rest !== undefined) secret[first!] = readFileSync(rest);
    else if (statSync(first!).isFile()) secret[basename(first!)] = readFileSync(first!);
    else for (const name of readdirSync(first!)) secret[name] = readFileSync(join(first!, name));
  }
  return secret;
}

function template(args: readonly string[]): Manifest[] {
  const flags = args.map((arg) => (arg === "deploy/kubernetes" ? CHART : arg));
  const text = run(toolPath("helm")!, "template", ...flags, "--kube-version", KUBERNETES_VERSION);
  return parseAllDocuments(text).map((document) => document.toJS() as Manifest);
}
