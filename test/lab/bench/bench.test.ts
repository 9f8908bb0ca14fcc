import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { PROJECT } from "../../../deploy/local/paths.ts";
import { toolPath } from "../../../deploy/local/tools.ts";
import { putLoad } from "./load.ts";
import { startPeer } from "./peers/start.ts";
import { PROTOSET } from "./peers/waybillSession.ts";
import { NAMES } from "./recipes.ts";
import type { Part } from "./results/results.ts";

const BIN = join(PROJECT, "node_modules", ".bin");
const env = { ...process.env, PATH: `${BIN}${delimiter}${process.env["PATH"]}` };
const folder = mkdtempSync(join(tmpdir(), "waybill-bench-test-"));
const hasTools = toolPath("waybill-load") !== undefined && toolPath("waybill-relay") !== undefined;

afterAll(() => rmSync(folder, { recursive: true }));

const bench = (...args: string[]) =>
  spawnSync("npm", ["run", "--silent", "bench", "--", ...args], {
    ...{ cwd: PROJECT, env, encoding: "utf8" },
  });

test.skipIf(!hasTools)("every design has figures or a skip reason (needs Go)", () => {
  const json = join(folder, "results.json");
  const run = bench(
    "call",
    "--quick",
    "--rounds=1",
    "--calls=100",
    `--json=${json}`,
    `--report=${folder}`,
  );
  expect(run.stderr).toContain("round 1 of 1");
  expect(run.status, run.stderr).toBe(0);
  const { parts } = JSON.parse(readFileSync(json, "utf8")) as { parts: Part[] };
  expect(parts.map(({ suite }) => suite)).toEqual(["call"]);
  const [{ tables, goals, leftOut, plots, circumstances }] = parts as [Part];
  expect(circumstances).toMatchObject({ isQuick: true, rounds: 1 });

  const hasRedis = !leftOut.some(({ what }) => what === "Redis");
  expect(tables).toHaveLength(3);
  for (const { rows } of tables) {
    const names = rows.map(({ name }) => name);
    const { spilled, ...others } = NAMES;
    expect(names).toEqual(expect.arrayContaining(Object.values(others)));
    expect(names).not.toContain(spilled);
    for (const stem of ["fair floor", "Waybill, carried", "Redis", "Postgres"]) {
      if (stem === "Redis" && !hasRedis) continue;
      for (const method of ["read", "advance"]) {
        expect(names.some((name) => name.startsWith(`${stem}: ${method}`))).toBe(true);
      }
    }
  }
  const [saturated, paced, wire] = tables as [
    Part["tables"][0],
    Part["tables"][0],
    Part["tables"][0],
  ];
  for (const { name, figures } of [...saturated.rows, ...paced.rows]) {
    expect(Object.keys(figures), name).toEqual(
      expect.arrayContaining(["rate", "p50", "p99", "CPU", "service", "memory"]),
    );
  }
  for (const { name, figures } of wire.rows) {
    expect(figures["client"]?.median, name).toBeGreaterThan(0);
    const keeps = /^(Redis|Postgres|Waybill, anchored)/.test(name);
    expect("store" in figures, name).toBe(keeps);
  }
  expect(goals).toHaveLength(hasRedis ? 12 : 4);
  for (const { name, atMost, atLeast, figure, isMet } of goals) {
    const aims = [atMost, atLeast].filter((each) => each !== undefined);
    expect(aims, name).toHaveLength(1);
    expect(isMet).toBe(atMost !== undefined ? figure.median <= atMost : figure.median >= atLeast!);
  }

  const report = readFileSync(join(folder, "REPORT.md"), "utf8");
  for (const { name, isMet } of goals) {
    const [line] = report.split("\n").filter((each) => each.startsWith(`| ${name} |`));
    expect(line).toContain(isMet ? "| met |" : "| **missed** |");
  }
  const pictures = [...report.matchAll(/!\[[^\]]+\]\(([^)]+)\)/g)].map(([, path]) => path!);
  expect(pictures).toHaveLength(plots.length);
  for (const picture of pictures) {
    expect(existsSync(join(folder, picture))).toBe(true);
    // Node has no XML parser; Python is installed for Envoy.
    execFileSync("python3", ["-c", WELL_FORMED, join(folder, picture)]);
  }
});

const WELL_FORMED = `
import sys, xml.dom.minidom
root = xml.dom.minidom.parse(sys.argv[1]).documentElement
assert root.tagName == "svg" and root.getElementsByTagName("path"), root.tagName
`;

test.skipIf(!hasTools)("caches keep the stated hit ratio, never stale (needs Go)", () => {
  const json = join(folder, "cache.json");
  const run = bench("cache", "--quick", "--rounds=1", "--calls=100", `--json=${json}`);
  expect(run.status, run.stderr).toBe(0);
  expect(run.stdout).toMatch(/SEED=\d+/);
  const { parts } = JSON.parse(readFileSync(json, "utf8")) as { parts: Part[] };
  const [{ tables, goals }] = parts as [Part];
  const [front, single, client, , changing] = tables as [
    ...[Part["tables"][0], Part["tables"][0], Part["tables"][0]],
    ...[Part["tables"][0], Part["tables"][0]],
  ];
  for (const { name, figures } of [...front.rows, ...single.rows, ...client.rows]) {
    expect(Object.keys(figures), name).toEqual(
      expect.arrayContaining(["rate", "p50", "p99", "CPU", "service", "Postgres", "memory"]),
    );
  }
  const hits = (rows: typeof front.rows, by: string) =>
    rows.map(({ figures }) => figures[`${by} hits`]?.median);
  expect(hits(front.rows, "service")).toEqual([0, 0, 0, 50, 0, 90, 0, 99]);
  expect(hits(single.rows, "service")).toEqual([0, 90]);
  expect(hits(client.rows, "service")).toEqual([0, 0, 90, 0, 0, 0]);
  const none = undefined;
  expect(hits(client.rows, "client")).toEqual([none, 90, none, 90, none, 90]);
  for (const { name, figures } of changing.rows) {
    for (const each of ["reads", "cached", "compared", "of them cached"]) {
      expect(figures[each]?.median, `${name}: ${each}`).toBeGreaterThan(0);
    }
    expect(figures["stale"]?.median, name).toBe(0);
    expect(figures["different"]?.median, name).toBe(0);
  }
  expect(goals.map(({ atLeast, atMost }) => atLeast ?? atMost)).toEqual([5, 5, 0, 0]);
});

test.skipIf(!hasTools)("a failed call fails the run (needs Go)", async () => {
  const peer = await startPeer("jose", { key: Buffer.alloc(32).toString("base64url") });
  const call = { target: peer.address, method: "waybill.bench.v1.CarriedService/Advance" };
  const metadata = [{ session: "no session of its own" }];
  const put = putLoad({ ...call, protoset: PROTOSET, calls: 10, metadata });
  await expect(put).rejects.toThrow(/CarriedService\/Advance.*"Unknown":10/);
  await peer.end();
});

test("a quick run does not change the project's report", () => {
  const files = () =>
    globSync("{REPORT.md,report/*}", { cwd: import.meta.dirname }).map(
      (file) => `${file} ${statSync(join(import.meta.dirname, file)).mtimeMs}`,
    );
  const before = files();
  const run = bench("validation", "--quick", "--rounds=1");
  expect(run.status, run.stderr).toBe(0);
  expect(run.stdout).toContain("quick: fewer and shorter rounds");
  expect(files()).toEqual(before);
});

test("wrong arguments are refused with the expected form", () => {
  const suite = bench("calll");
  expect(suite.status).toBe(2);
  expect(suite.stderr).toContain("no suite is called calll: expected some of call, ");
  const flag = bench("--fast");
  expect(flag.status).toBe(2);
  expect(flag.stderr).toContain("expected some of --quick, ");
  const count = bench("--rounds", "0");
  expect(count.status).toBe(2);
  expect(count.stderr).toContain("--rounds 0: expected a whole number from 1");
  expect(bench("--help").stdout).toContain("--quick");
});
