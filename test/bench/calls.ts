import { execFileSync } from "node:child_process";
import { toolPath } from "../../deploy/local/tools.ts";
import { makeClients } from "../fixtures/clients.ts";
import { startTestCluster } from "../fixtures/cluster.ts";

const CALLS = 10_000;

/** Reads through the front door under ghz's load: rate and latency. */
export async function calls(): Promise<void> {
  const ghz = toolPath("ghz");
  if (ghz === undefined) {
    console.log("  left out: ghz is missing (npm run tools builds it where there is Go)");
    return;
  }
  const cluster = await startTestCluster();
  const clients = makeClients(cluster.target);
  await clients.checkout.beginCheckout({});
  await clients.checkout.addItem({ product: "products/7" });
  const metadata = JSON.stringify({ waybill: clients.jar.peek("checkout") });
  clients.close();
  for (const [what, method, data] of [
    ["read of a session", "waybill.checkout.v1.CheckoutService/GetCheckout", {}],
    ["read of Postgres", "waybill.catalog.v1.CatalogService/GetProduct", { name: "products/7" }],
  ] as const) {
    const args = [
      "--insecure",
      "--call",
      method,
      "--metadata",
      metadata,
      "--data",
      JSON.stringify(data),
    ];
    args.push(
      "--total",
      `${CALLS}`,
      "--concurrency",
      "32",
      "--connections",
      "4",
      "--format",
      "json",
    );
    const report = JSON.parse(
      execFileSync(ghz, [...args, cluster.target], { encoding: "utf8", maxBuffer: 64 * 2 ** 20 }),
    ) as Report;
    const at = (percentage: number) =>
      report.latencyDistribution.find((each) => each.percentage === percentage)!.latency / 1e6;
    const failed = report.count - (report.statusCodeDistribution["OK"] ?? 0);
    console.log(
      `  ${what.padEnd(24)} ${Math.round(report.rps)}/s, p50 ${at(50).toFixed(1)} ms, p99 ${at(99).toFixed(1)} ms, ${failed} of ${report.count} failed`,
    );
  }
  await cluster.remove();
}

interface Report {
  count: number;
  rps: number;
  latencyDistribution: { percentage: number; latency: number }[];
  statusCodeDistribution: Record<string, number>;
}
