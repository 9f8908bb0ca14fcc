import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { TokenServiceService } from "#proto/waybill/token/v1/token.ts";
import { bearer, Callers, ProofKey } from "../support/callers/callers.ts";
import { ADDRESS, shop } from "../support/callers/shopper.ts";
import { makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { refusal } from "../support/refusal.ts";

test("K8 a run writes no waybill, key, password or state", async () => {
  const cluster = await startTestCluster({ replicaEnv: { WAYBILL_LOG_LEVEL: "debug" } });
  const clients = makeClients(cluster.target);
  const secrets = new Set<string>([ADDRESS.addressLines[0]!]);
  await shop(clients, 42, () => {
    const waybill = clients.jar.peek("checkout")!;
    // Also its sealed state alone, and its tag.
    for (const part of waybill.split(".").slice(2)) secrets.add(part);
  });
  // A refusal is logged with its reason, but without the token.
  clients.jar.put("session", clients.jar.peek("checkout")!);
  await refusal(clients.session.openSession({ waybill: undefined }));
  const tokens = await useTokens(cluster);
  for (const token of tokens) secrets.add(token);
  const folder = join(cluster.dataDir, "secrets");
  let privateKeys = 0;
  for (const file of files(folder)) {
    const text = readFileSync(file, "utf8");
    for (const [, secret] of text.matchAll(
      /"(?:d|owner|keys|identity|token|catalog|checkout)":"([\w-]{32,})"/g,
    )) {
      secrets.add(secret!);
    }
    // The first line of every private key begins alike.
    for (const [, secret] of text.matchAll(
      /PRIVATE KEY-----(?:\\n|\n)[^\\\n]+(?:\\n|\n)([^\\\n]+)/g,
    )) {
      secrets.add(secret!);
      privateKeys += 1;
    }
    if (/(key-encryption-key|-secret)$/.test(file)) secrets.add(text.trim());
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

/** Signs in, refreshes, and provokes refusals. @returns every secret that must not appear in a log */
async function useTokens(cluster: TestCluster): Promise<string[]> {
  const callers = new Callers(cluster.target, cluster.status().adminSecretFile);
  const { client, secret } = await callers.account();
  const { accessToken } = await callers.grant(client);
  const person = await callers.person();
  const key = new ProofKey();
  const proof = key.proving(`${callers.issuer}${TokenServiceService.signIn.path}`);
  const first = await callers.signIn(person);
  const bound = await callers.signIn(person, {}, proof);
  const idempotencyKey = "an-idempotency-key-of-this-test";
  const next = await callers.refresh(first.refreshToken, { key: idempotencyKey });
  // Refusals are logged, too: reuse, wrong secrets, tokens in the wrong places.
  await refusal(callers.refresh(first.refreshToken, { key: `${idempotencyKey}-2` }));
  await refusal(callers.signIn({ ...person, secret: "a secret that is wrong" }));
  await refusal(callers.refresh(bound.refreshToken));
  await refusal(
    callers.token.listSignIns({ pageSize: 1, pageToken: "" }, bearer(bound.accessToken)),
  );
  await refusal(callers.token.grantJwtBearer({ assertion: next.accessToken, wanted: undefined }));
  await callers.token.revoke({ client, token: accessToken });
  callers.close();
  const signatures = [accessToken, first.accessToken, bound.accessToken, next.accessToken].map(
    (jwt) => jwt.split(".")[2]!,
  );
  const refreshTokens = [first, bound, next].map(({ refreshToken }) => refreshToken.slice(-43));
  const [sentProof] = proof.metadata.get("dpop");
  return [
    ...signatures,
    ...refreshTokens,
    `${sentProof}`.split(".")[2]!,
    secret,
    person.secret,
    "a secret that is wrong",
    idempotencyKey,
  ];
}

function files(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((file) => join(folder, file))
    .filter((file) => statSync(file).isFile());
}
