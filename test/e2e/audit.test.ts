import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import type { Finding } from "#shared/anchors/audit.ts";
import { loadCredentials } from "#shared/credentials/credentials.ts";
import { RingWatcher } from "#shared/rings/ringWatcher.ts";
import { fromCompact, toCompact } from "#shared/waybill/jwe.ts";
import { fixedRing } from "#shared/waybill/ring.ts";
import { Sessions } from "#shared/waybill/sessions.ts";
import { type Clients, contract, makeClients } from "../fixtures/clients.ts";
import { startTestCluster, type TestCluster } from "../fixtures/cluster.ts";
import { refusal } from "../fixtures/refusal.ts";
import { ADDRESS } from "../fixtures/shopper.ts";
import { step } from "../fixtures/step.ts";

let cluster: TestCluster;
let byHand: Clients;
beforeAll(async () => {
  cluster = await startTestCluster();
  byHand = makeClients(cluster.target, { withJar: false, retries: false });
});
afterAll(async () => {
  byHand?.close();
  await cluster?.remove();
});

const audit = async (...waybills: string[]): Promise<Finding[]> => {
  const lines = (await cluster.audit("checkout", waybills)).trim().split("\n");
  return lines.map((line) => JSON.parse(line) as Finding);
};

/** Who has stolen the ring of checkout, and seals another next version of a session. */
async function fork(waybill: string): Promise<string> {
  const watcher = new RingWatcher({
    target: cluster.status().replicas[0]!.address,
    service: "checkout",
    audience: "checkout",
    credentials: loadCredentials(join(cluster.dataDir, "secrets", "credentials")),
  });
  await watcher.ready;
  const ring = fixedRing(watcher.current()!);
  await watcher.close();
  const { session } = contract.method("/waybill.checkout.v1.CheckoutService/GetCheckout");
  const sessions = new Sessions(session!, CheckoutState, ring);
  const opened = await sessions.open(fromCompact(waybill)!);
  return toCompact(sessions.seal(sessions.successor(opened, sessions.encode(opened.state))));
}

test("what was sealed is genuine, what a stolen ring sealed is a fork", async () => {
  const { waybill: first } = await step(byHand.checkout.beginCheckout, {});
  const item = { product: "products/1" };
  const { waybill: second } = await step(byHand.checkout.addItem, item, { waybill: first });
  const forged = await fork(first!);
  const findings = await audit(first!, second!, forged, "nonsense");
  expect(findings).toMatchObject([
    { verdict: "genuine", version: 1, newest: 2, ended: false },
    { verdict: "genuine", version: 2, newest: 2, ended: false },
    { verdict: "fork", version: 2, newest: 2 },
    { verdict: "invalid" },
  ]);
  expect(findings[1]!.replica).toContain("/");
  expect(findings[0]!.session).toMatch(/^sessions\/[0-9a-f-]{36}$/);
});

test("a fork is refused by what writes: of the newest version, of an older one, of one to come", async () => {
  const { waybill: first } = await step(byHand.checkout.beginCheckout, {});
  const address = (waybill: string) =>
    step(byHand.checkout.setAddress, { address: ADDRESS }, { waybill });
  const future = await fork(first!);
  expect((await refusal(address(future))).reason).toBe("WAYBILL_INVALID");
  const { waybill: second } = await address(first!);
  expect((await refusal(address(future))).reason).toBe("WAYBILL_INVALID");
  await address(second!);
  // Of a version that was gone on from: it is no more than stale, or a fork of it.
  expect((await refusal(address(future))).reason).toBe("WAYBILL_INVALID");
  expect(await audit(future)).toMatchObject([{ verdict: "fork", version: 2, newest: 3 }]);
  // Whoever watches the logs hears of each, and of how many there were.
  const counts = cluster.status().replicas.map(({ number }) =>
    readFileSync(join(cluster.dataDir, "logs", `replica-${number}.log`), "utf8")
      .split("\n")
      .filter((line) => line.includes("something is wrong"))
      .map((line) => JSON.parse(line).alarms as number),
  );
  expect(counts.flat()).toHaveLength(3);
  for (const own of counts) expect(own).toEqual(own.map((_, index) => index + 1));
});
