import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { fromCompact, toCompact } from "waybill/testing";
import { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { stealRing } from "../support/callers/ringThief.ts";
import { ADDRESS } from "../support/callers/shopper.ts";
import { type Clients, makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { refusal } from "../support/refusal.ts";
import { step } from "../support/step.ts";

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

/** A line of the command's output. */
interface Finding {
  readonly [field: string]: unknown;
}

const inspect = async (...waybills: string[]): Promise<Finding[]> => {
  const lines = (await cluster.inspect("checkout", waybills)).trim().split("\n");
  return lines.map((line) => JSON.parse(line) as Finding);
};

/** Forks a session: seals another next version with checkout's stolen ring. */
async function fork(waybill: string): Promise<string> {
  const path = "/waybill.checkout.v1.CheckoutService/GetCheckout";
  const { sessions } = await stealRing(cluster, path, CheckoutState);
  const opened = await sessions.open(fromCompact(waybill)!);
  return toCompact(sessions.seal(sessions.successor(opened, sessions.encode(opened.state))));
}

test("inspect reports genuine waybills and a thief's forks", async () => {
  const { waybill: first } = await step(byHand.checkout.beginCheckout, {});
  const item = { product: "products/1" };
  const { waybill: second } = await step(byHand.checkout.addItem, item, { waybill: first });
  const forged = await fork(first!);
  const findings = await inspect(first!, second!, forged, "nonsense");
  expect(findings).toMatchObject([
    { verdict: "genuine", version: 1, newest: 2, ended: false },
    { verdict: "genuine", version: 2, newest: 2, ended: false },
    { verdict: "fork", version: 2, newest: 2 },
    { verdict: "invalid" },
  ]);
  expect(findings[1]!.replica).toContain("/");
  expect(findings[0]!.session).toMatch(/^sessions\/[0-9a-f-]{36}$/);
});

test("writes refuse forks of newest, older, future versions", async () => {
  const { waybill: first } = await step(byHand.checkout.beginCheckout, {});
  const address = (waybill: string) =>
    step(byHand.checkout.setAddress, { address: ADDRESS }, { waybill });
  const future = await fork(first!);
  expect((await refusal(address(future))).reason).toBe("WAYBILL_INVALID");
  const { waybill: second } = await address(first!);
  expect((await refusal(address(future))).reason).toBe("WAYBILL_INVALID");
  await address(second!);
  // A successor of a stale version is refused as a fork, although it is also stale.
  expect((await refusal(address(future))).reason).toBe("WAYBILL_INVALID");
  expect(await inspect(future)).toMatchObject([{ verdict: "fork", version: 2, newest: 3 }]);
  // Each replica logs and counts the forks that it refuses.
  const counts = cluster.status().replicas.map(({ number }) =>
    readFileSync(join(cluster.dataDir, "logs", `replica-${number}.log`), "utf8")
      .split("\n")
      .filter((line) => line.includes("possible tampering"))
      .map((line) => JSON.parse(line).alarms as number),
  );
  expect(counts.flat()).toHaveLength(3);
  for (const own of counts) expect(own).toEqual(own.map((_, index) => index + 1));
});

test("one bad line does not affect other verdicts", async () => {
  const { waybill: first } = await step(byHand.checkout.beginCheckout, {});
  const path = "/waybill.checkout.v1.CheckoutService/GetCheckout";
  const { sessions, envelopeOf } = await stealRing(cluster, path, CheckoutState);
  const envelope = await envelopeOf(first!);
  const forged = (change: Partial<typeof envelope>) =>
    toCompact(sessions.seal({ ...envelope, ...change }));
  const lines = [
    forged({ parentDigest: randomBytes(32) }),
    forged({ version: 2 ** 32 - 1 }),
    forged({ sessionId: randomBytes(3) }),
    forged({ digest: Buffer.alloc(0) }),
    first!,
  ];
  const verdicts = async () => (await inspect(...lines)).map(({ verdict }) => verdict);
  expect(await verdicts()).toEqual(["fork", "forged", "forged", "forged", "genuine"]);
  const sealedUnder = JSON.parse(
    Buffer.from(first!.slice(0, first!.indexOf(".")), "base64url").toString(),
  ).kid.slice(0, 11);
  await cluster.rotate("checkout", sealedUnder);
  const { waybill: later } = await step(byHand.checkout.beginCheckout, {});
  lines.push(later!);
  const destroyed = Array(5).fill("destroyed");
  expect(await verdicts()).toEqual([...destroyed, "genuine"]);
});
