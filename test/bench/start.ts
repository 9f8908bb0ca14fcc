import { execFileSync } from "node:child_process";
import { startTestCluster } from "../fixtures/cluster.ts";
import { median, row } from "./figures.ts";

const ROUNDS = 5;

/** How long a cluster and a replica take to start, and what a replica holds at rest. */
export async function start(): Promise<void> {
  const clusters: number[] = [];
  const replicas: number[] = [];
  const residents: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const before = performance.now();
    const cluster = await startTestCluster();
    clusters.push(performance.now() - before);
    const beforeReplica = performance.now();
    await cluster.scale(3);
    replicas.push(performance.now() - beforeReplica);
    const pids = cluster.status().replicas.map(({ pid }) => `${pid}`);
    const sizes = execFileSync("ps", ["-o", "rss=", "-p", pids.join(",")], { encoding: "utf8" });
    residents.push(median(sizes.trim().split("\n").map(Number)) / 1024);
    await cluster.remove();
  }
  row("cluster of 2, empty folder, to the first call through the front door", clusters, "ms");
  row("one more replica, until the front door sends it calls", replicas, "ms");
  row("resident memory of a replica at rest", residents, "MB");
}
