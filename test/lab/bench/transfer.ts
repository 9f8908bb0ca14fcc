import { Sessions, toMetadataValue, WAYBILL_KEY } from "waybill/testing";
import { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { Waybill } from "#proto/waybill/options/v1/options.ts";
import { toField } from "#shared/waybill/carriers.ts";
import { ADDRESS } from "../../support/callers/shopper.ts";
import { contract, makeClients } from "../../support/clients.ts";
import { startTestCluster } from "../../support/cluster.ts";
import { makeRingSource } from "../../support/rings.ts";
import type { Bench, Suite } from "./bench.ts";

/** How HTTP/2 peers count a header: its name, its value and 32 bytes (RFC 7541 section 4.1). */
const HEADER_OVERHEAD = 32;

export const transfer: Suite = {
  about: "Size of a checkout's state, plain and sealed in each carrier.",
  async run(bench) {
    const { session } = contract.method("/waybill.checkout.v1.CheckoutService/GetCheckout");
    const sessions = new Sessions(session!, CheckoutState, makeRingSource("checkout"));
    const begun = sessions.begin();
    const products = await readProducts(bench, 30);
    const rows: [name: string, bytes: Record<string, number[]>][] = [];
    for (const lines of [0, 1, 5, 30]) {
      const state = CheckoutState.encode(
        CheckoutState.create({
          address: ADDRESS,
          items: products.slice(0, lines).map(({ name, title, price }) => ({
            product: name,
            title: [...title].slice(0, 40).join(""),
            unitPrice: price,
            quantity: 1,
          })),
        }),
      ).finish();
      const sealed = sessions.seal(sessions.successor(begun, state));
      const inMetadata = WAYBILL_KEY.length + toMetadataValue(sealed).length + HEADER_OVERHEAD;
      const inMessage = Waybill.encode(toField(sealed)).finish().length;
      const bytes = { state: [state.length], metadata: [inMetadata], message: [inMessage] };
      rows.push([`an address and ${lines} lines`, bytes]);
    }
    const measures = ["state", "metadata", "message"].map((name) => ({ name, unit: "bytes" }));
    bench.results.table("a checkout's state, and its waybill", measures, rows);
    bench.results.note("Metadata is counted as HTTP/2 peers do: name, value and 32 bytes.");
  },
};

/** Reads real products of the catalog. */
async function readProducts(bench: Bench, count: number) {
  bench.step("reading products of a cluster");
  const cluster = await bench.own("the cluster", startTestCluster(), (each) => each.remove());
  const clients = makeClients(cluster.target);
  const request = { pageSize: count, pageToken: "", filter: "", orderBy: "" };
  const { products } = await clients.catalog.listProducts(request);
  clients.close();
  return products;
}
