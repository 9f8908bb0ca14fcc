import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Clients, makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { waitFor } from "../support/waitFor.ts";

/** Makes a replica fail on a signal. */
const FAULTS = `data:text/javascript,
  process.on("SIGUSR2", () => void Promise.reject(new Error("a planted rejection")));
  process.on("SIGPWR", () => { throw new Error("a planted exception"); });`;

let cluster: TestCluster;
let clients: Clients;
beforeAll(async () => {
  const NODE_OPTIONS = `--import=${encodeURI(FAULTS.replaceAll("\n", ""))}`;
  cluster = await startTestCluster({ replicas: 1, replicaEnv: { NODE_OPTIONS } });
  clients = makeClients(cluster.target);
});
afterAll(async () => {
  clients?.close();
  await cluster?.remove();
});

const logged = (text: string) =>
  readFileSync(join(cluster.dataDir, "logs", "replica-1.log"), "utf8")
    .split("\n")
    .filter((line) => line.includes(text))
    .map((line) => JSON.parse(line) as Record<string, unknown>);

test("R8 a replica survives unhandled rejections, exits on exceptions", async () => {
  const { pid } = cluster.status().replicas[0]!;
  for (const count of [1, 2]) {
    process.kill(pid, "SIGUSR2");
    await waitFor("the rejection to be logged", async () => {
      await clients.catalog.getProduct({ name: "products/1" });
      return logged("planted rejection").length === count;
    });
  }
  expect(logged("planted rejection")).toMatchObject([
    { level: 50, rejections: 1, pid },
    { level: 50, rejections: 2, pid },
  ]);
  expect(cluster.status().replicas[0]?.pid).toBe(pid);

  process.kill(pid, "SIGPWR");
  const isReplaced = () => cluster.status().replicas.some((replica) => replica.pid !== pid);
  // Calls fail while no replica runs: retry until the successor serves.
  await waitFor("the replica's successor", async () => {
    await clients.catalog.getProduct({ name: "products/1" }).catch(() => {});
    return isReplaced();
  });
  expect(logged("planted exception")).toMatchObject([{ level: 60, pid }]);
  await clients.catalog.getProduct({ name: "products/1" });
});
