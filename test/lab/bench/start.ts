import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { PROJECT } from "../../../deploy/local/paths.ts";
import { startTestCluster, type TestCluster } from "../../support/cluster.ts";
import type { Bench, Suite } from "./bench.ts";
import { residentMbOfTree } from "./processTimes.ts";
import { median } from "./results/figures.ts";

const run = promisify(execFile);
const READY_LIMIT_MS = 5 * 60_000;

export const start: Suite = {
  about: "Start time of a cluster, a replica and a fresh clone, and the memory of a replica.",
  async run(bench) {
    const clusters: number[] = [];
    const replicas: number[] = [];
    const residents: number[] = [];
    const steps: Record<string, number[]> = {};
    for (let round = 1; round <= bench.rounds; round += 1) {
      bench.step("a cluster of 2, and one more replica", round);
      await bench.during(async () => {
        const before = performance.now();
        const remove = (each: TestCluster) => each.remove();
        const step = stepsInto(steps);
        const cluster = await bench.own("the cluster", startTestCluster({ tell: step }), remove);
        clusters.push(performance.now() - before);
        step();
        const beforeReplica = performance.now();
        await cluster.scale(3);
        replicas.push(performance.now() - beforeReplica);
        residents.push(median(cluster.status().replicas.map(({ pid }) => residentMbOfTree(pid))));
      });
    }
    bench.results.list("until it serves", "ms", {
      "cluster of 2, empty folder, to the first call through the front proxy": clusters,
      "one more replica, until the front proxy sends it calls": replicas,
    });
    bench.results.list("a cluster's start, step by step", "ms", steps);
    bench.results.list("resident memory", "MB", { "a replica at rest": residents });
    if (bench.isQuick) bench.results.leftOut("a fresh clone", "not in a quick run");
    else await freshClone(bench);
  },
};

/** Steps of a start, by the first words of their messages. */
const STEPS = ["starting Postgres", "migrating", "starting 2 replicas", "starting Envoy"];
const FIRST_STEP = "keys, certificates, passwords";

/** @returns receives the messages; undefined: the last step is over */
function stepsInto(steps: Record<string, number[]>): (line?: string) => void {
  let [name, since] = [FIRST_STEP, performance.now()];
  return (line) => {
    if (line !== undefined && !STEPS.includes(line)) return;
    const now = performance.now();
    steps[name] = [...(steps[name] ?? []), now - since];
    [name, since] = [line ?? "", now];
  };
}

/** From a clone to `ready`, once, because downloads dominate it. */
async function freshClone(bench: Bench): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "waybill-clone-"));
  await bench.own("the clone", folder, () => rmSync(folder, { recursive: true }));
  // If root runs the bench, the user of Postgres needs access to the folder.
  chmodSync(folder, 0o711);
  const clone = join(folder, "waybill");
  const env = strangersEnvironment();
  const seconds: Record<string, number[]> = {};
  const timed = async (what: string, work: () => Promise<unknown>) => {
    bench.step(what);
    const before = performance.now();
    await work();
    seconds[what] = [(performance.now() - before) / 1000];
  };
  await timed("git clone", () => run("git", ["clone", "--quiet", PROJECT, clone]));
  await timed("npm ci, with npm's existing cache", () => run("npm", ["ci"], { cwd: clone, env }));
  await timed("npm start, until ready; downloads Envoy", async () => {
    const args = ["start", "--", "--port", "0", "--data-dir", join(folder, "data")];
    const child = spawn("npm", args, {
      ...{ cwd: clone, env, detached: true },
      stdio: ["ignore", "pipe", "ignore"],
    });
    await bench.own("the clone's cluster", child, endGroup);
    await untilReady(child);
  });
  const sum = Object.values(seconds).reduce((total, [each]) => total + each!, 0);
  bench.results.list("a fresh clone, once", "s", { ...seconds, total: [sum] });
}

/** The environment without the paths that npm adds for this project. */
function strangersEnvironment(): NodeJS.ProcessEnv {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  const others = folders.filter((each) => !each.includes("node_modules"));
  return { ...process.env, PATH: others.join(delimiter) };
}

async function untilReady(child: ChildProcess): Promise<void> {
  const limit = AbortSignal.timeout(READY_LIMIT_MS);
  for await (const line of createInterface({ input: child.stdout!, signal: limit })) {
    if (line === "ready") return;
  }
  throw new Error("the clone's cluster did not say ready");
}

async function endGroup(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  process.kill(-child.pid!, "SIGINT");
  await once(child, "exit");
}
