import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { credentials, status } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { loadTls } from "waybill/auth";
import { makeCertificates } from "../../deploy/local/secrets/authority.ts";
import { shop } from "../support/callers/shopper.ts";
import { type ClientsOptions, makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";

let cluster: TestCluster;
const stranger = mkdtempSync(join(tmpdir(), "waybill-stranger-"));
beforeAll(async () => {
  cluster = await startTestCluster({ replicaTls: true });
});
afterAll(async () => {
  rmSync(stranger, { recursive: true });
  await cluster?.remove();
});

/** Reads a product. @returns its name, or the name of the status code */
async function outcome(target: string, options: ClientsOptions = {}): Promise<string> {
  const clients = makeClients(target, { ...options, retries: false });
  const ended = await clients.catalog.getProduct({ name: "products/1" }, { timeoutMs: 5000 }).then(
    ({ name }) => name,
    ({ code }: { code: status }) => status[code]!,
  );
  clients.close();
  return ended;
}

test("a checkout uses TLS up to the replicas", async () => {
  const { tlsPort, caFile } = cluster.status().frontProxy!;
  const clients = makeClients(`localhost:${tlsPort}`, {
    credentials: credentials.createSsl(readFileSync(caFile)),
  });
  expect((await shop(clients, 7)).name).toMatch(/^orders\//);
  clients.close();
});

test("the printed address of the TLS port works", async () => {
  const { tlsPort, caFile } = cluster.status().frontProxy!;
  const trusting = { credentials: credentials.createSsl(readFileSync(caFile)) };
  expect(await outcome(`127.0.0.1:${tlsPort}`, trusting)).toBe("products/1");
});

test("clients without the authority refuse the TLS port", async () => {
  const { tlsPort, caFile } = cluster.status().frontProxy!;
  const target = `localhost:${tlsPort}`;
  const trusting = { credentials: credentials.createSsl(readFileSync(caFile)) };
  expect(await outcome(target, trusting)).toBe("products/1");
  expect(await outcome(target, { credentials: credentials.createSsl() })).toBe("UNAVAILABLE");
  expect(await outcome(target)).toBe("UNAVAILABLE");
});

test("E5 a replica accepts calls only from inside the cluster", async () => {
  const { address } = cluster.status().replicas[0]!;
  const tlsDir = join(cluster.dataDir, "secrets", "tls");
  const own = loadTls(tlsDir).client;
  expect(await outcome(address, own)).toBe("products/1");

  expect(await outcome(address)).toBe("UNAVAILABLE");
  const withoutCertificate = credentials.createSsl(readFileSync(join(tlsDir, "ca.crt")));
  expect(await outcome(address, { ...own, credentials: withoutCertificate })).toBe("UNAVAILABLE");
  const other = await makeCertificates(stranger);
  const withAnothers = credentials.createSsl(
    readFileSync(join(tlsDir, "ca.crt")),
    readFileSync(join(other, "tls.key")),
    readFileSync(join(other, "tls.crt")),
  );
  expect(await outcome(address, { ...own, credentials: withAnothers })).toBe("UNAVAILABLE");
  // In the other direction, a client of another cluster does not trust this cluster's replica.
  expect(await outcome(address, loadTls(other).client)).toBe("UNAVAILABLE");
});
