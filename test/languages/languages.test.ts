import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CACHE, CONTRACT_IMAGE, PROJECT } from "../../deploy/local/paths.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";

const hasGo = spawnSync("go", ["version"], { stdio: "ignore" }).status === 0;
const hasPython =
  spawnSync("python3", ["-m", "pip", "--version"], { stdio: "ignore" }).status === 0;

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startTestCluster();
});
afterAll(() => cluster?.remove());

const ORDER = /^orders\/[0-9a-f-]{36}\n$/;

test.skipIf(!hasPython)("a Python client places an order without the SDK (needs pip)", () => {
  const folder = join(import.meta.dirname, "python");
  const packages = pythonPackages(join(folder, "requirements.txt"));
  const env = { ...process.env, PYTHONPATH: packages, PYTHONDONTWRITEBYTECODE: "1" };
  const args = [join(folder, "checkout.py"), cluster.target, CONTRACT_IMAGE];
  expect(execFileSync("python3", args, { env, encoding: "utf8" })).toMatch(ORDER);
});

test("a JavaScript client places an order without generated code", () => {
  const protos = join(PROJECT, "proto");
  const program = join(import.meta.dirname, "javascript", "checkout.ts");
  const args = [program, cluster.target, protos, join(protos, "vendor")];
  expect(execFileSync(process.execPath, args, { encoding: "utf8" })).toMatch(ORDER);
});

test.skipIf(!hasGo)("a Go client places an order without the SDK (needs Go)", () => {
  const args = ["run", ".", cluster.target, CONTRACT_IMAGE];
  const cwd = join(import.meta.dirname, "go");
  const env = { ...process.env, GOFLAGS: "-buildvcs=false -mod=readonly" };
  expect(execFileSync("go", args, { cwd, env, encoding: "utf8" })).toMatch(ORDER);
});

/** A folder with the dependencies that the file lists, fetched once. */
function pythonPackages(requirements: string): string {
  const version = createHash("sha256")
    .update(readFileSync(requirements))
    .digest("hex")
    .slice(0, 12);
  const folder = join(CACHE, `python-${version}`);
  if (existsSync(folder)) return folder;
  mkdirSync(CACHE, { recursive: true });
  const half = `${folder}.half`;
  rmSync(half, { recursive: true, force: true });
  const args = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
  args.push("--root-user-action=ignore", "--target", half, "-r", requirements);
  execFileSync("python3", args, { stdio: "pipe" });
  renameSync(half, folder);
  return folder;
}
