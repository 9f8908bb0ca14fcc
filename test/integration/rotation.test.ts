import { join } from "node:path";
import { Metadata } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { KeysServiceService } from "#proto/waybill/keys/v1/keys.ts";
import { assertService } from "#shared/credentials/assertion.ts";
import { type Credentials, loadCredentials } from "#shared/credentials/credentials.ts";
import { createClient } from "#shared/grpc/client.ts";
import { makeClients } from "../fixtures/clients.ts";
import { startTestCluster, type TestCluster } from "../fixtures/cluster.ts";
import { refusal } from "../fixtures/refusal.ts";

let cluster: TestCluster;
let credentials: Credentials;

beforeAll(async () => {
  cluster = await startTestCluster();
  credentials = loadCredentials(join(cluster.dataDir, "secrets", "credentials"));
});
afterAll(() => cluster?.remove());

/** Rotates a ring on one replica, as whatever service. */
async function rotateAs(service: string, audience: string) {
  const client = createClient(KeysServiceService, cluster.status().replicas[0]!.address);
  const { path } = KeysServiceService.rotateRing;
  const metadata = new Metadata();
  metadata.set("authorization", await assertService(credentials, service, path));
  try {
    return await client.rotateRing({ audience }, { metadata });
  } finally {
    client.close();
  }
}

test("rotation: waybills of every earlier key are opened by every replica, at once", async () => {
  const clients = makeClients(cluster.target, { withJar: false, retries: false });
  const waybills: string[] = [];
  const activeKeys = new Set<string>();
  for (let rotation = 0; rotation < 12; rotation += 1) {
    await clients.checkout.beginCheckout(
      {},
      { onMetadata: (metadata) => waybills.push(metadata.get("waybill")[0] as string) },
    );
    const { version, activeKeyId } = await cluster.rotate("checkout");
    expect(version).toBe(rotation + 2);
    activeKeys.add(activeKeyId);
    for (const waybill of waybills) {
      const metadata = new Metadata();
      metadata.set("waybill", waybill);
      await clients.checkout.getCheckout({}, { metadata });
    }
  }
  clients.close();
  expect(activeKeys.size).toBe(12);
  const kids = waybills.map((waybill) => {
    const header = Buffer.from(waybill.slice(0, waybill.indexOf(".")), "base64url").toString();
    return (JSON.parse(header) as { kid: string }).kid.slice(0, 11);
  });
  expect(new Set(kids).size).toBeGreaterThan(1);
});

test("E5 a service gets at the rings of its own audiences alone", async () => {
  expect((await rotateAs("session", "session")).version).toBe(2);
  expect((await refusal(rotateAs("checkout", "session"))).reason).toBe("ACCESS_DENIED");
  expect((await refusal(rotateAs("keys", "catalog"))).reason).toBe("ACCESS_DENIED");
});
