import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Metadata } from "@grpc/grpc-js";
import { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { KeysServiceService } from "#proto/waybill/keys/v1/keys.ts";
import { assertService } from "#shared/auth/credentials/assertion.ts";
import { type Credentials, loadCredentials } from "#shared/auth/credentials/credentials.ts";
import { wrapping } from "#shared/auth/credentials/wrapping.ts";
import { createClient } from "#shared/client/client.ts";
import { Callers } from "../support/callers/callers.ts";
import { makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { refusal, untilRefused } from "../support/refusal.ts";
import { step } from "../support/step.ts";
import { waitFor } from "../support/waitFor.ts";

let cluster: TestCluster;
let credentials: Credentials;

beforeAll(async () => {
  cluster = await startTestCluster();
  credentials = loadCredentials(join(cluster.dataDir, "secrets", "credentials"));
});
afterAll(() => cluster?.remove());

/** Rotates a ring on one replica, as a given service. */
async function rotateAs(service: string, audience: string, destroyKeyId = "") {
  const client = createClient(KeysServiceService, cluster.status().replicas[0]!.address);
  const { path } = KeysServiceService.rotateRing;
  const metadata = new Metadata();
  metadata.set("authorization", await assertService(credentials, service, path));
  try {
    return await client.rotateRing({ audience, destroyKeyId }, { metadata });
  } finally {
    client.close();
  }
}

test("every replica opens waybills of every earlier key", async () => {
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

test("E5 a service reads only its own audiences' rings", async () => {
  expect((await rotateAs("session", "session")).version).toBe(2);
  expect((await refusal(rotateAs("checkout", "session"))).reason).toBe("ACCESS_DENIED");
  expect((await refusal(rotateAs("keys", "catalog"))).reason).toBe("ACCESS_DENIED");
});

test("a destroyed key's waybills are revoked; their sessions resume", async () => {
  const callers = new Callers(cluster.target, cluster.status().adminSecretFile);
  const { accessToken: token } = await callers.signIn(await callers.person());
  const clients = makeClients(cluster.target, { withJar: false, retries: false });
  const { waybill } = await step(clients.checkout.beginCheckout, {}, { token });
  const { waybill: filled } = await step(
    clients.checkout.addItem,
    { product: "products/3" },
    { waybill, token },
  );
  const { response } = await step(
    clients.session.listSessions,
    { pageToken: "", pageSize: 0 },
    { token },
  );
  const header = Buffer.from(filled!.slice(0, filled!.indexOf(".")), "base64url").toString();
  const leaked = (JSON.parse(header) as { kid: string }).kid.slice(0, 11);
  const { activeKeyId } = await cluster.rotate("checkout", leaked);
  expect(activeKeyId).not.toBe(leaked);
  const read = () => step(clients.checkout.getCheckout, {}, { waybill: filled, token });
  expect(await untilRefused(read)).toMatchObject({ reason: "WAYBILL_REVOKED" });
  // The saved responses of the session are sealed under another ring.
  const name = response.sessions[0]!.name;
  const resumed = await step(clients.checkout.resumeCheckout, { name }, { token });
  expect(resumed.response.items).toMatchObject([{ product: "products/3" }]);
  await step(clients.checkout.getCheckout, {}, { waybill: resumed.waybill, token });
  await expect(cluster.rotate("checkout", "AAAAAAAAAAA")).rejects.toThrow();
  clients.close();
  callers.close();
});

test("K6 three starts rotate the key-encryption key without losing waybills", async () => {
  const file = join(cluster.dataDir, "secrets", "key-encryption-key");
  const clients = makeClients(cluster.target, { withJar: false });
  const { waybill } = await step(clients.checkout.beginCheckout, {});
  clients.close();
  const older = readFileSync(file, "utf8").trim();
  const newer = randomBytes(32).toString("base64url");
  const foreign = async (): Promise<number> => {
    const db = new Client({ connectionString: cluster.databaseUrl });
    await db.connect();
    const { id } = wrapping(Buffer.from(newer, "base64url"));
    const { rows } = await db.query(
      `SELECT (SELECT count(*) FROM keys.ring_key
                WHERE wrapping_key_id <> $1 AND state <> 'destroyed')
            + (SELECT count(*) FROM token.signing_key WHERE wrapping_key_id <> $1) AS count`,
      [id],
    );
    await db.end();
    return Number(rows[0].count);
  };
  for (const keys of [`${older}\n${newer}\n`, `${newer}\n${older}\n`, `${newer}\n`]) {
    const { dataDir } = cluster;
    await cluster.stop();
    writeFileSync(file, keys);
    cluster = await startTestCluster({ dataDir });
    const after = makeClients(cluster.target, { withJar: false });
    await step(after.checkout.getCheckout, {}, { waybill });
    after.close();
    const isTaking = keys.startsWith(newer);
    if (!isTaking) expect(await foreign()).toBeGreaterThan(0);
    if (isTaking) await waitFor("all keys to be rewrapped", async () => (await foreign()) === 0);
  }
}, 240_000);
