import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeClients } from "../fixtures/clients.ts";
import { startTestCluster } from "../fixtures/cluster.ts";
import { refusal } from "../fixtures/refusal.ts";
import { ADDRESS, shop } from "../fixtures/shopper.ts";

test("K8 nothing that a run writes holds a waybill, a key, a password or what a state said", async () => {
  const cluster = await startTestCluster({ replicaEnv: { WAYBILL_LOG_LEVEL: "debug" } });
  const clients = makeClients(cluster.target);
  const secrets = new Set<string>([ADDRESS.addressLines[0]!]);
  await shop(clients, 42, () => {
    const waybill = clients.jar.peek("checkout")!;
    // Its parts, too: the sealed state and the tag.
    for (const part of waybill.split(".").slice(2)) secrets.add(part);
  });
  // What is refused is logged with its reason, and without the token.
  clients.jar.put("session", clients.jar.peek("checkout")!);
  await refusal(clients.session.openSession({ waybill: undefined }));
  const folder = join(cluster.dataDir, "secrets");
  let privateKeys = 0;
  for (const file of files(folder)) {
    const text = readFileSync(file, "utf8");
    for (const [, secret] of text.matchAll(/"(?:d|owner|keys|catalog|checkout)":"([\w-]{32,})"/g)) {
      secrets.add(secret!);
    }
    // The first line of a private key begins alike in all of them.
    for (const [, secret] of text.matchAll(
      /PRIVATE KEY-----(?:\\n|\n)[^\\\n]+(?:\\n|\n)([^\\\n]+)/g,
    )) {
      secrets.add(secret!);
      privateKeys += 1;
    }
    if (file.endsWith("key-encryption-key")) secrets.add(text.trim());
  }
  expect(secrets.size).toBeGreaterThan(20);
  expect(privateKeys).toBe(2);
  clients.close();
  await cluster.stop();

  const written = files(join(cluster.dataDir, "logs")).concat(
    join(cluster.dataDir, "postgres", "postgres.log"),
  );
  let bytes = 0;
  for (const file of written) {
    const text = readFileSync(file, "latin1");
    bytes += text.length;
    for (const secret of secrets) expect(text.includes(secret), `${file}`).toBe(false);
  }
  expect(bytes).toBeGreaterThan(1000);
});

function files(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((file) => join(folder, file))
    .filter((file) => statSync(file).isFile());
}
