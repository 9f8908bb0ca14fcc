import { afterAll, beforeAll, expect, test } from "vitest";
import { crowd } from "../support/callers/shoppers.ts";
import { makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { waitFor } from "../support/waitFor.ts";

let cluster: TestCluster;

// One replica: all cancelled calls share the front proxy's few connections to it.
beforeAll(async () => {
  cluster = await startTestCluster({ replicas: 1 });
});
afterAll(() => cluster?.remove());

test("5,000 cancelled or timed-out calls fail no steady call", async () => {
  const impatient = makeClients(cluster.target, { withJar: false, retries: false });
  const request = { pageSize: 100, pageToken: "", filter: "", orderBy: "title" };
  const cancelling = (async () => {
    for (let batch = 0; batch < 100; batch += 1) {
      const calls = Array.from({ length: 50 }, (_, index) => {
        if (index % 2 === 0) return impatient.catalog.listProducts(request, { timeoutMs: 3 });
        const controller = new AbortController();
        setTimeout(() => controller.abort(), 2);
        return impatient.catalog.listProducts(request, { signal: controller.signal });
      });
      await Promise.allSettled(calls);
    }
  })();
  const enough = (ordered: () => number) =>
    Promise.all([cancelling, waitFor("11 orders", () => ordered() > 10)]);
  const { failures, calls } = await crowd(cluster.target, 4, enough, { retries: false });
  impatient.close();
  expect(failures).toEqual([]);
  expect(calls).toBeGreaterThan(100);
  // The front proxy retries when a replica closes a connection, but counts it.
  const resets = await counter("upstream_rq_tx_reset");
  expect(resets).toBeGreaterThan(2000);
  expect(await counter("upstream_cx_close_notify")).toBe(0);
});

/** Sums a counter of the front proxy over its clusters. */
async function counter(name: string): Promise<number> {
  const { adminPort } = cluster.status().frontProxy!;
  const answer = await fetch(`http://127.0.0.1:${adminPort}/stats?filter=${name}$&format=json`);
  const { stats } = (await answer.json()) as { stats: { name?: string; value?: number }[] };
  return stats
    .filter((stat) => stat.name?.endsWith(`.${name}`))
    .reduce((sum, stat) => sum + (stat.value ?? 0), 0);
}
