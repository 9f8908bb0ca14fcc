import { GetProductRequest } from "#proto/waybill/catalog/v1/catalog.ts";
import { CONTRACT_IMAGE } from "../../../deploy/local/paths.ts";
import { toolPath } from "../../../deploy/local/tools.ts";
import { makeClients } from "../../support/clients.ts";
import { startTestCluster } from "../../support/cluster.ts";
import { step } from "../../support/step.ts";
import type { Suite } from "./bench.ts";
import { putLoad } from "./load.ts";

const CALLS = 20_000;
const SESSIONS = 200;

export const calls: Suite = {
  about: "Reads of the reference services through the real front proxy, 32 in flight.",
  async run(bench) {
    if (toolPath("waybill-load") === undefined) {
      bench.results.leftOut("everything", "the load generator needs Go");
      return;
    }
    const cluster = await bench.own("the cluster", startTestCluster(), (each) => each.remove());
    const clients = makeClients(cluster.target, { withJar: false });
    const metadata = await Promise.all(
      Array.from({ length: SESSIONS }, async () => {
        const begun = await step(clients.checkout.beginCheckout, {});
        const item = { product: "products/7", quantity: 1 };
        const { waybill } = await step(clients.checkout.addItem, item, begun);
        return { waybill: waybill! };
      }),
    );
    clients.close();
    const product = {
      method: "waybill.catalog.v1.CatalogService/GetProduct",
      messages: [GetProductRequest.encode({ name: "products/7" }).finish()],
    };
    const kinds = {
      "read of a session": { method: "waybill.checkout.v1.CheckoutService/GetCheckout", metadata },
      "read of Postgres": { ...product, metadata: [{ "cache-control": "no-store" }] },
      "… from the service's cache": product,
    };
    const found = new Map<string, Record<"rate" | "p50" | "p99", number[]>>();
    for (let round = 0; round <= bench.rounds; round += 1) {
      for (const [kind, load] of Object.entries(kinds)) {
        bench.step(kind, round === 0 ? undefined : round);
        const result = await putLoad({
          ...load,
          target: cluster.target,
          protoset: CONTRACT_IMAGE,
          calls: bench.calls(CALLS),
        });
        // The first round warms up.
        if (round === 0) continue;
        const each = found.get(kind) ?? { rate: [], p50: [], p99: [] };
        found.set(kind, each);
        each.rate.push(result.perS);
        each.p50.push(result.p50Ms);
        each.p99.push(result.p99Ms);
      }
    }
    bench.results.table(
      "through the front proxy, to 2 replicas",
      [
        { name: "rate", unit: "calls/s" },
        { name: "p50", unit: "ms" },
        { name: "p99", unit: "ms" },
      ],
      found,
    );
  },
};
